package io.choria.aaasvc
default allow = false
allow {
  input.filter.identity[0] == "some.node"
}
