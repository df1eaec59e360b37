package io.choria.aaasvc
default allow = false
allow {
  input.claims.callerid == "up=bob"
}
