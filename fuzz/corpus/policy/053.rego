package io.choria.aaasvc
default allow = false
allow {
  input.claims.exp > 1795000000
}
