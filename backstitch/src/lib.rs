//! The program that people type: one command line for the processes, the operators and the trials.

pub mod cli;
