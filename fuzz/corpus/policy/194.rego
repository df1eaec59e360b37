package io.choria.aaasvc
default allow = false
allow {
  opa.runtime().env.USER
}
