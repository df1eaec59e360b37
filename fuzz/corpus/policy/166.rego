package io.choria.aaasvc
default allow = false
default allow = true
