//! The README's commands.

use crate::stack;

/// The blocks of shell commands below a heading of the second level, in order.
pub fn commands(heading: &str) -> Vec<String> {
    let readme = std::fs::read_to_string(stack::root().join("README.md")).unwrap();
    let mut lines = readme.lines().skip_while(|line| *line != format!("## {heading}")).skip(1);
    let mut blocks = Vec::new();
    while let Some(line) = lines.next().filter(|line| !line.starts_with("## ")) {
        if line.trim_start() == "```sh" {
            // A block in a list is indented like the list.
            let indent = line.len() - line.trim_start().len();
            let block = lines.by_ref().take_while(|line| line.trim_start() != "```");
            blocks.push(block.map(|line| format!("{}\n", line.get(indent..).unwrap_or_default())).collect());
        }
    }
    assert!(!blocks.is_empty(), "no commands below {heading}");
    blocks
}
