package io.choria.aaasvc
default allow = false
allow {
  input.sender == "some.node"
}
