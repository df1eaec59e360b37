package io.choria.aaasvc
default allow = false
allow { f("some.node") }
f(x) { requires_identity_filter(x) }
