package io.choria.aaasvc
deny = true
