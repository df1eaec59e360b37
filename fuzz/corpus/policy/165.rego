package io.choria.aaasvc
allow = true { true }
allow = false { true }
