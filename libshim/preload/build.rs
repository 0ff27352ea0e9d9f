//! libshim is looked for beside this library first, then where the run-time linker always looks.

fn main() {
    println!("cargo:rustc-cdylib-link-arg=-Wl,-soname,libshim-preload.so");
    println!("cargo:rustc-cdylib-link-arg=-Wl,-rpath,$ORIGIN");
    println!("cargo:rerun-if-changed=build.rs");
}
