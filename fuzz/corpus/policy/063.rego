package io.choria.aaasvc
default allow = false
allow {
  not input.claims.agents
}
