package io.choria.aaasvc
default allow = false
allow = false { input.agent == "x" } else = true { input.action == "deploy" }
