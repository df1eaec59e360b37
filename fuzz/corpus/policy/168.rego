package io.choria.aaasvc
default allow = false
allow { 1 / 0 == 1 }
