package io.choria.aaasvc
default allow = false
agents := {"myco","puppet"}
allow { agents[input.agent] }
