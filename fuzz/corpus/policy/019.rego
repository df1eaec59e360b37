package io.choria.aaasvc
default allow = false
allow { some i; input.data.nested.a[i] == 3 }
