package io.choria.aaasvc
default allow = false
allow {
  input.claims.purpose == "choria_client_id"
}
