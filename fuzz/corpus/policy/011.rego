package io.choria.aaasvc
import future.keywords
default allow = false
allow if {
 every x in input.data.nested.a { x > 0 }
 "x" in input.data.list
}
