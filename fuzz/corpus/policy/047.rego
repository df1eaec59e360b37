package io.choria.aaasvc
default allow = false
allow {
  input.claims.ou == "choria"
}
