package io.choria.aaasvc
default allow = false
allow {
  glob.match("my*", [], input.agent)
}
