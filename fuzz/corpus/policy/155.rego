package io.choria.aaasvc
allow[x] { x := "a" }
