//! Gives the shared library its name for the run-time linker: programs depend on the ABI, not on the file.

fn main() {
    println!("cargo:rustc-cdylib-link-arg=-Wl,-soname,libshim.so.0");
    println!("cargo:rerun-if-changed=build.rs");
}
