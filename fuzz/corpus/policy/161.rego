package io.choria.aaasvc
default allow = false
allow { x == 1 }
