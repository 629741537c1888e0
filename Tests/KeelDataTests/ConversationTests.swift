import KeelCore
import KeelText
import Testing

@testable import KeelData

/// Rows of messages: what becomes of them under a template, and what of it is trained.
struct ConversationTests {
    /// Qwen's template without a system message of its own.
    private static let chatML = """
        {%- for m in messages %}{{ '<|im_start|>' + m.role + '\\n' + m.content + '<|im_end|>\\n' }}{% endfor %}
        {%- if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}
        """

    private func tokenizer() throws -> Tokenizer { try Tokenizer.load(directory: Fixture.qwen2) }

    private func load(
        _ line: String, _ wanted: RowKind, trained: TrainedPart = .assistant,
        template: String? = chatML, model: String = Fixture.qwen2, layout: RowLayout = .auto
    ) throws -> Dataset {
        let folder = try Folder()
        let tokenizer = try Tokenizer.load(directory: model)
        let chat = try template.map {
            try ChatTemplate(
                $0, name: "chat.jinja",
                specials: ["bos_token": tokenizer.bosID.flatMap(tokenizer.text(of:)) ?? ""])
        }
        let data = try Dataset.load(
            path: try folder.write("rows.jsonl", line), wanted: wanted, layout: layout,
            conversation: Conversation(chat, tokenizer: tokenizer, trained: trained))
        _ = try data.texts(0)
        return data
    }

    /// Prompt, then the completions; what is trained stands in [[ ]].
    private func shown(
        _ line: String, _ wanted: RowKind, trained: TrainedPart = .assistant,
        limits: LengthLimits = LengthLimits(), template: String? = chatML,
        model: String = Fixture.qwen2, layout: RowLayout = .auto
    ) throws -> [String] {
        let data = try load(
            line, wanted, trained: trained, template: template, model: model, layout: layout)
        let tokenizer = try Tokenizer.load(directory: model)
        var limits = limits
        limits.trainsPrompt = trained == .all
        let tokens = try TokenizedDataset.tokenize(
            data, tokenizer: tokenizer, limits: limits, cacheDirectory: nil)
        guard let row = tokens.rows.first else { return ["dropped \(tokens.counts.dropped)"] }
        let sides = try row.completions.indices.map { side in
            var (text, part, isTrained) = ("", [Int32](), false)
            for (id, mark) in zip(row.completions[side], row.mask(side)) + [(-1, false)] {
                if mark != isTrained || id < 0 {
                    let words = try tokenizer.decode(part, skipSpecial: false)
                    text += isTrained ? "[[\(words)]]" : words
                    (part, isTrained) = ([], mark)
                }
                if id >= 0 { part.append(id) }
            }
            return text
        }
        return [try tokenizer.decode(row.prompt, skipSpecial: false)] + sides
    }

    private static let dialogue =
        #"{"messages": [{"role": "system", "content": "Be kind."}, {"role": "user", "content": "Hi"}, "#
        + #"{"role": "assistant", "content": "Hello!"}, {"role": "user", "content": "Who?"}, "#
        + #"{"role": "assistant", "content": "Me."}]}"#

    @Test func whatTheAssistantSaysIsTrained() throws {
        let head = "<|im_start|>system\nBe kind.<|im_end|>\n<|im_start|>user\nHi<|im_end|>\n"
        let asked = "<|im_start|>user\nWho?<|im_end|>\n<|im_start|>assistant\n"
        let first = "<|im_start|>assistant\nHello!<|im_end|>\n"
        #expect(
            try shown(ConversationTests.dialogue, .text) == [
                head + "<|im_start|>assistant\n",
                "[[Hello!<|im_end|>]]\n\(asked)[[Me.<|im_end|>]]",
            ])
        #expect(
            try shown(ConversationTests.dialogue, .text, trained: .last) == [
                head + first + asked, "[[Me.<|im_end|>]]",
            ])
        let all = try shown(ConversationTests.dialogue, .text, trained: .all)
        #expect(all[0] == "<|im_start|>")
        #expect(all[1] == "[[\(String((head + first + asked).dropFirst(12)))Me.<|im_end|>]]")
        #expect(try shown(ConversationTests.dialogue, .prompt) == [head + first + asked])
        #expect(
            try shown(ConversationTests.dialogue, .promptCompletion) == [
                head + first + asked, "[[Me.<|im_end|>]]",
            ])
    }

    private static let question = "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n"

    @Test(arguments: [
        #"{"prompt": [{"role": "user", "content": "Hi"}], "chosen": [{"role": "assistant", "content": "A"}], "rejected": [{"role": "assistant", "content": "B"}]}"#,
        #"{"chosen": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "A"}], "rejected": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "B"}]}"#,
        #"{"prompt": [{"role": "user", "content": "Hi"}], "chosen": "A", "rejected": "B"}"#,
        #"{"prompt": "Hi", "chosen": [{"role": "assistant", "content": "A"}], "rejected": "B"}"#,
        #"{"conversations": [{"from": "human", "value": "Hi"}], "chosen": {"from": "gpt", "value": "A"}, "rejected": {"from": "gpt", "value": "B"}}"#,
        #"{"prompt": [{"role": "user", "content": "Hi"}], "completions": ["B", [{"role": "assistant", "content": "A"}]], "scores": [0, 1]}"#,
    ])
    func pairsOfMessages(_ line: String) throws {
        #expect(
            try shown(line, .preference) == [
                ConversationTests.question, "[[A<|im_end|>]]", "[[B<|im_end|>]]",
            ])
        let texts = try load(line, .preference).texts(0)
        #expect(texts.spoken == ("Hi", ["A", "B"]))
    }

    @Test(arguments: [
        (
            #"{"prompt": [{"role": "user", "content": "Hi"}], "completion": "A", "label": true}"#,
            RowKind.unpaired
        ),
        (
            #"{"messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "A"}], "reward": 1}"#,
            .scored
        ),
        (#"{"instruction": "Hi", "input": "", "output": "A"}"#, .text),
        (
            #"{"conversations": [{"from": "human", "value": "Hi"}, {"from": "gpt", "value": "A"}]}"#,
            .text
        ),
    ])
    func oneAnswer(_ line: String, _ wanted: RowKind) throws {
        #expect(try shown(line, wanted) == [ConversationTests.question, "[[A<|im_end|>]]"])
    }

    @Test func alpacaHasInputSystemAndHistory() throws {
        let line =
            #"{"instruction": "Add.", "input": "1+1", "output": "2", "system": "S", "history": [["q", "a"]]}"#
        #expect(
            try shown(line, .text) == [
                "<|im_start|>system\nS<|im_end|>\n<|im_start|>user\nq<|im_end|>\n<|im_start|>assistant\na<|im_end|>\n"
                    + "<|im_start|>user\nAdd.\n1+1<|im_end|>\n<|im_start|>assistant\n",
                "[[2<|im_end|>]]",
            ])
    }

    @Test func alpacaWithoutATemplate() throws {
        let line = #"{"instruction": "Add.", "input": "1+1", "output": "2"}"#
        let texts = try load(line, .text, template: nil).texts(0)
        #expect(
            texts.prompt
                == "Below is an instruction that describes a task, paired with an input that provides "
                + "further context. Write a response that appropriately completes the request.\n\n"
                + "### Instruction:\nAdd.\n\n### Input:\n1+1\n\n### Response:\n")
        #expect(texts.completions == ["2"] && !texts.isChat)
    }

    /// A completion of several messages trains the assistant's only.
    @Test func turnsInsideACompletion() throws {
        let line =
            #"{"prompt": [{"role": "user", "content": "Hi"}], "completion": [{"role": "assistant", "content": "A"}, "#
            + #"{"role": "tool", "content": "T"}, {"role": "assistant", "content": "B"}]}"#
        #expect(
            try shown(line, .text) == [
                ConversationTests.question,
                "[[A<|im_end|>]]\n<|im_start|>tool\nT<|im_end|>\n<|im_start|>assistant\n[[B<|im_end|>]]",
            ])
    }

    /// A template that closes no turn gets the tokenizer's end; one that writes BOS gets no second.
    @Test func endsAndStarts() throws {
        let open =
            "{{ bos_token }}{% for m in messages %}{{ m.role + ': ' + m.content + '\\n' }}{% endfor %}"
            + "{% if add_generation_prompt %}{{ 'assistant: ' }}{% endif %}"
        let line = #"{"prompt": [{"role": "user", "content": "Hi"}], "completion": "A"}"#
        let row = try shown(line, .text, template: open, model: Fixture.llama2)
        #expect(row == ["<s> user: Hi\nassistant:", "[[A</s>]]"])
    }

    @Test func tokensThatAreCutAndRowsThatAreEmpty() throws {
        var limits = LengthLimits(maxLength: 24)
        let cut = try shown(ConversationTests.dialogue, .text, limits: limits)
        #expect(cut.count == 2 || cut == ["dropped 1"])
        limits.maxLength = 4
        #expect(try shown(ConversationTests.dialogue, .text, limits: limits) == ["dropped 1"])
    }

    @Test(arguments: [
        (
            #"{"messages": [{"role": "user", "content": "a"}]}"#, RowKind.text,
            "the assistant says nothing in these messages: there is nothing to train"
        ),
        (
            #"{"messages": [{"role": "user"}]}"#, .text,
            "\"messages\"[0] must have a text as its \"content\", found null"
        ),
        (#"{"messages": [{"content": "a"}]}"#, .text, "\"messages\"[0] has no \"role\""),
        (
            #"{"messages": []}"#, .text,
            "\"messages\" must be a text or a list of messages, found an empty list"
        ),
        (
            #"{"prompt": [{"role": "assistant", "content": "a"}]}"#, .prompt,
            "the prompt ends with the assistant's words"
        ),
        (
            #"{"prompt": [{"role": "user", "content": [{"type": "image"}]}]}"#, .prompt,
            "\"prompt\"[0] has a part that is no text"
        ),
        (
            #"{"conversations": [{"from": "alien", "value": "a"}]}"#, .text,
            "\"conversations\"[0] comes from \"alien\""
        ),
        (
            #"{"conversations": [{"from": "human"}]}"#, .text,
            "\"conversations\"[0] must be {\"from\": \"human\" or \"gpt\", \"value\": TEXT}"
        ),
        (
            #"{"instruction": "a", "output": "b", "history": [["q"]]}"#, .text,
            "\"history\"[0] must be [QUESTION, ANSWER]"
        ),
        (
            #"{"prompt": "p", "completion": "c", "images": ["x.png"]}"#, .text,
            "the row holds images"
        ),
        (
            #"{"chosen": [{"role": "assistant", "content": "a"}], "rejected": [{"role": "assistant", "content": "b"}]}"#,
            .preference,
            "\"chosen\" and \"rejected\" begin with different messages, and there is no prompt"
        ),
    ])
    func badMessages(_ line: String, _ wanted: RowKind, _ what: String) throws {
        let error = try #require(throws: (any Error).self) { try load(line, wanted) }
        let all = (error as? KeelErrors)?.errors ?? [error as? KeelError].compactMap { $0 }
        #expect(all.map(\.what) == [what])
        #expect(all.first?.at?.hasSuffix("rows.jsonl:1") == true && all.first?.fix != nil)
    }

    @Test func withoutATemplateMessagesAreRefused() throws {
        let error = try #require(throws: (any Error).self) {
            try load(ConversationTests.dialogue, .text, template: nil)
        }
        #expect(
            "\(error)".contains(
                "the row holds messages, and the model's folder has no chat template"))
        #expect("\(error)".contains("\"chat_template\": \"FILE.jinja\" in \"data\""))
    }

    /// What the template itself refuses names the row.
    @Test func whatTheTemplateRefusesNamesTheRow() throws {
        let error = try #require(throws: KeelError.self) {
            try load(
                ConversationTests.dialogue, .text,
                template: "{{ raise_exception('no system here') }}")
        }
        #expect(error.at?.contains("rows.jsonl:1") == true && error.what.contains("no system here"))
    }
}
