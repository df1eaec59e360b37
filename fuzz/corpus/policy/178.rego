package io.choria.aaasvc
default allow = false
allow {
  regex.match("^my", input.agent)
}
