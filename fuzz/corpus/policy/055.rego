package io.choria.aaasvc
default allow = false
allow {
  input.claims.iat == 1790000000
}
