package io.choria.aaasvc
default allow = false
allow { b }
b { allow }
