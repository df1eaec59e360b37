package io.choria.aaasvc
default allow = false
allow { print("x", input.agent); true }
