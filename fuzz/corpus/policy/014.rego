package io.choria.aaasvc
default allow = false
