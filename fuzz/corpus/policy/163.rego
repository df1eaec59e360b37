package io.choria.aaasvc
default allow = false
allow { startswith(input.data.count, "a") }
