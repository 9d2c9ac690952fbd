//! Whole-system tests of bytesandbrains; see the files beside this one.
