package io.choria.aaasvc
default allow = false
allow { startswith(5, "a") }
