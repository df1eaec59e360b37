package io.choria.aaasvc
default allow = false
allow {
  input.callerid == "up=bob"
}
