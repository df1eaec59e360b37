package io.choria.aaasvc
default allow = false
allow { false; frobnicate(1) }
allow { true }
