package io.choria.aaasvc
default allow = false
allow { frobnicate(1) }
