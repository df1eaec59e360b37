package io.choria.aaasvc
default allow = true
