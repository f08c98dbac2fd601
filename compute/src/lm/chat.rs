//! Messages to text, by the template in the model's file.
//!
//! A template is a program, though one that can do nothing but make text. It
//! gets so many steps, which bound what it may hold too, so much text, and no
//! functions but those that templates of chats use.

use std::io::{self, Write};

use embermesh_job::spec::Message;
use minijinja::syntax::SyntaxConfig;
use minijinja::{Environment, Error, ErrorKind, context};

/// The key of a file's template.
pub(crate) const TEMPLATE: &str = "tokenizer.chat_template";

/// The longest template, in bytes.
const MAX_TEMPLATE: usize = 256 * 1024;
/// The longest text that it may make, in bytes.
const MAX_TEXT: usize = 1024 * 1024;
/// Steps that it may take, of which each also pays for 64 bytes that it holds.
const FUEL: u64 = 200_000;
/// Steps that it may take for each message beside that.
const FUEL_A_MESSAGE: u64 = 10_000;

/// The text of a chat, up to where the model is to go on. `begin` and `end` are
/// the names of the tokens that begin and end a text. What is wrong with a
/// template is said for its owner.
pub(crate) fn render(
    template: &str,
    messages: &[Message],
    (begin, end): (&str, &str),
) -> Result<String, String> {
    if template.len() > MAX_TEMPLATE {
        return Err(format!(
            "the template has {} bytes, of {MAX_TEMPLATE} allowed",
            template.len()
        ));
    }
    let mut environment = Environment::new();
    // As the library that templates are written for has it.
    let syntax = SyntaxConfig::builder()
        .trim_blocks(true)
        .lstrip_blocks(true)
        .build();
    environment.set_syntax(syntax.map_err(|error| told(&error))?);
    environment.set_fuel(Some(FUEL + FUEL_A_MESSAGE * messages.len() as u64));
    environment.set_unknown_method_callback(minijinja_contrib::pycompat::unknown_method_callback);
    environment.add_function("raise_exception", |reason: String| -> Result<(), Error> {
        Err(Error::new(ErrorKind::InvalidOperation, reason))
    });
    let messages: Vec<_> = messages
        .iter()
        .map(|message| {
            context! { role => message.role.word(), content => message.content.as_str() }
        })
        .collect();
    let values = context! {
        messages => messages,
        add_generation_prompt => true,
        bos_token => begin,
        eos_token => end,
    };
    let mut text = Bounded(Vec::new());
    environment
        .template_from_named_str("chat template", template)
        .and_then(|template| template.render_captured_to(values, &mut text).map(drop))
        .map_err(|error| told(&error))?;
    String::from_utf8(text.0).map_err(|error| error.to_string())
}

/// What happened, without the pages around it.
fn told(error: &Error) -> String {
    let mut text = error.to_string();
    text.truncate(text.floor_char_boundary(512));
    text
}

/// Takes so many bytes and no more.
struct Bounded(Vec<u8>);

impl Write for Bounded {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.0.len() + bytes.len() > MAX_TEXT {
            let reason = format!("the text is longer than {MAX_TEXT} bytes");
            return Err(io::Error::other(reason));
        }
        self.0.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use embermesh_job::spec::Role;

    use super::*;

    fn chat() -> Vec<Message> {
        let say = |role, content: &str| Message {
            role,
            content: content.to_owned(),
        };
        vec![
            say(Role::System, " Be brief. "),
            say(Role::User, "Hi {{ 1 }}"),
        ]
    }

    fn rendered(template: &str) -> Result<String, String> {
        render(template, &chat(), ("<s>", "</s>"))
    }

    #[test]
    fn a_template_puts_messages_into_words() {
        let template = "{{ bos_token }}{% for message in messages %}\n  {% if message['role'] == 'system' %}\n[{{ message.content.strip() }}]\n  {% else %}\n{{ message['role'] }}: {{ message['content'] + eos_token }}\n  {% endif %}\n{% endfor %}\n{% if add_generation_prompt %}assistant:{% endif %}";
        assert_eq!(
            rendered(template).unwrap(),
            "<s>[Be brief.]\nuser: Hi {{ 1 }}</s>\nassistant:"
        );
    }

    #[test]
    fn a_template_that_goes_wrong_says_so() {
        let refused = rendered("{{ raise_exception('roles must alternate') }}").unwrap_err();
        assert!(refused.contains("roles must alternate"), "{refused}");
        assert!(rendered("{% for %}").is_err());
        assert!(rendered("{{ messages[9].content.nothing() }}").is_err());
        assert!(
            rendered(&" ".repeat(MAX_TEMPLATE + 1))
                .unwrap_err()
                .contains("bytes")
        );
    }

    #[test]
    fn a_template_without_end_is_stopped() {
        let nested = "{% for a in range(9999) %}{% for b in range(9999) %}{% for c in range(9999) %}{% set x = 1 %}{% endfor %}{% endfor %}{% endfor %}";
        let refused = rendered(nested).unwrap_err();
        assert!(refused.contains("fuel"), "{refused}");
        let page = "x".repeat(10_000);
        let long = format!("{{% for a in range(9999) %}}{page}{{% endfor %}}");
        assert!(rendered(&long).is_err());
        let doubled = "{% set ns = namespace(x='xxxxxxxx') %}{% for a in range(60) %}{% set ns.x = ns.x ~ ns.x %}{% endfor %}";
        assert!(rendered(doubled).is_err());
        let itself = "{% macro again() %}{{ again() }}{% endmacro %}{{ again() }}";
        assert!(rendered(itself).is_err());
    }
}
