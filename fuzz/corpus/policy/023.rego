package io.choria.aaasvc
default allow = false
allow {
  input.action == "deploy"
}
