package io.choria.aaasvc
default allow = false
allow { ok(input.agent); admin }
ok(a) { a == "myco" }
admin { input.claims.callerid == "up=bob" }
