//! What a module may be tried with: `trials WHAT [VALUE]`. Compiled as the example
//! in examples/scripts is.

use std::io::{Read as _, Write as _};

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    match args.first().map(String::as_str) {
        Some("echo") => echo(&args),
        Some("exit") => {
            eprintln!("as I was told");
            std::process::exit(args[1].parse().unwrap());
        }
        Some("panic") => panic!("on purpose"),
        Some("loop") => {
            println!("looping");
            let mut number = 1_u64;
            loop {
                number = std::hint::black_box(number.wrapping_mul(3));
            }
        }
        Some("sleep") => {
            println!("sleeping");
            std::thread::sleep(std::time::Duration::from_secs(3600));
        }
        Some("nap") => {
            let since = std::time::Instant::now();
            std::thread::sleep(std::time::Duration::from_millis(50));
            println!("{}", since.elapsed().as_millis() >= 50);
        }
        Some("say") => loop {
            println!("and on and on and on");
        },
        Some("memory") => {
            let mut held = Vec::new();
            loop {
                let mut block: Vec<u8> = Vec::new();
                if block.try_reserve_exact(1 << 20).is_err() {
                    println!("refused after {} MiB", held.len());
                    return;
                }
                block.resize(1 << 20, 1);
                held.push(block);
            }
        }
        Some("recurse") => println!("{}", deeper(1)),
        Some("fill") => {
            for number in 0.. {
                std::fs::write(format!("file-{number}"), vec![1_u8; 1 << 20]).unwrap();
            }
        }
        Some("folders") => {
            let mut path = std::path::PathBuf::from("d");
            for _ in 0..200 {
                std::fs::create_dir(&path).unwrap();
                path.push("d");
            }
        }
        Some("escape") => escape(),
        other => panic!("{other:?}"),
    }
}

fn echo(args: &[String]) {
    let mut stdin = String::new();
    std::io::stdin().read_to_string(&mut stdin).unwrap();
    let text = std::fs::read_to_string("/inputs/data/a.txt").unwrap();
    println!("args {args:?}, DEPTH {:?}", std::env::var("DEPTH"));
    println!("vars {}", std::env::vars().count());
    eprintln!("stdin {stdin:?}, input {text:?}");
    std::fs::write("/work/out.txt", text).unwrap();
    std::fs::create_dir("more").unwrap();
    let mut file = std::fs::File::create("more/of-it.txt").unwrap();
    write!(file, "{stdin}").unwrap();
}

fn deeper(number: u64) -> u64 {
    let held = [number; 64];
    if number == 0 {
        return 0;
    }
    std::hint::black_box(held)[3] + deeper(std::hint::black_box(number + 1))
}

fn escape() {
    for path in [
        "/etc/passwd",
        "../../../../etc/passwd",
        "/work/../../../../etc/passwd",
        "/proc/self/environ",
        "/",
    ] {
        println!("read {path}: {}", std::fs::read(path).is_ok());
    }
    println!("write input: {}", std::fs::write("/inputs/new", "x").is_ok());
    println!("remove input: {}", std::fs::remove_file("/inputs/data/a.txt").is_ok());
    println!("link out: {}", std::fs::hard_link("/inputs/data/a.txt", "/work/a").is_ok());
    let command = std::process::Command::new("/bin/sh").spawn();
    println!("command: {}", command.is_ok());
    let stream = std::net::TcpStream::connect("127.0.0.1:1");
    println!("network: {}", stream.is_ok());
    println!("thread: {}", std::thread::Builder::new().spawn(|| ()).is_ok());
}
