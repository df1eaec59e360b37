package io.choria.aaasvc
default allow = false
allow { count([x | x := ["some.node","b"][_]; requires_identity_filter(x)]) == 1 }
