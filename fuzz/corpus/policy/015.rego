package io.choria.aaasvc
default allow = false
allow { input.agent == "x" }
allow { input.action == "deploy" }
