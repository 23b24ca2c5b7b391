/// Runs a function before `main`, while the process has one thread.
///
/// For test binaries whose `main` belongs to the test harness: `carrack_sys::run_before_main!(carrack_runtime::dispatch);`
/// lets the code under test execute its own binary in another role. glibc only, as arguments are not there before
/// `main` elsewhere; ordinary programs call the function first in `main`.
#[macro_export]
macro_rules! run_before_main {
    ($function:path) => {
        // SAFETY: entries of .init_array are called once, by the loader, with the C calling convention; glibc passes
        // argc, argv and envp, which a function without parameters may leave unread. The standard library keeps its
        // arguments in an entry of higher priority, so they are readable here.
        #[allow(unsafe_code)]
        #[used]
        #[unsafe(link_section = ".init_array")]
        static BEFORE_MAIN: extern "C" fn() = {
            extern "C" fn enter() {
                $function();
            }
            enter
        };
    };
}
