import KeelCore
import KeelText
import Testing

@testable import KeelData

/// Rows of fields that mean something with values that may not: errors with a line, or rows; nothing else.
struct HostileRowsTests {
    private static let values: [JSON] = [
        .null, true, false, 0, 1, -3, 1e300, "", "x", "true", [], [1], ["a"], ["a", "b"], [[]],
        [["q", "a"]], [:], ["a": 1], ["x": .null], [.null], [1, 2], [0.5, -1e308],
        [["role": "user", "content": "hi"]], [["role": "assistant", "content": .null]],
        [["role": "user", "content": "hi"], ["role": "assistant", "content": "yes"]],
        [["role": "assistant", "content": "a"], ["role": "assistant", "content": "b"]],
        [["role": 3]], [["content": "x"]], [["from": "human", "value": "x"]],
        [["from": "human", "value": "x"], ["from": "gpt", "value": "y"]], [["from": "gpt"]],
        [[["role": "assistant", "content": "a"]], "b"],
        [["role": "user", "content": [["type": "image"]]]],
        [["role": "user", "content": [["type": "text", "text": "parts"]]]],
    ]
    private static let fields =
        RowKind.fieldNames + ["system", "history", "tools", "images", "chat_template_kwargs"]
    private static let template =
        "{% for m in messages %}<{{ m.role }}>{{ m.content }}{% endfor %}{% if add_generation_prompt %}<a>{% endif %}"

    @Test(arguments: RowKind.allCases)
    func errorsOrRows(_ wanted: RowKind) throws {
        let folder = try Folder()
        let tokenizer = try Tokenizer.load(directory: Fixture.smollm)
        let chat = try ChatTemplate(HostileRowsTests.template, name: "chat")
        let conversations = [
            .plain, Conversation(chat, tokenizer: tokenizer, trained: .assistant),
            Conversation(chat, tokenizer: tokenizer, trained: .last),
        ]
        let stream = RandomStream(seed: 5, place: "hostile rows")
        var (loaded, refused) = (0, 0)
        for number in 0..<1500 {
            var row = JSONObject()
            for field in 0..<(1 + stream.below(5, UInt64(number * 100))) {
                let at = UInt64(number * 100 + 2 * Int(field) + 1)
                let name = HostileRowsTests.fields[
                    Int(stream.below(UInt64(HostileRowsTests.fields.count), at))]
                row[name] =
                    HostileRowsTests.values[
                        Int(stream.below(UInt64(HostileRowsTests.values.count), at + 1))]
            }
            let layouts: [RowLayout] = [.auto, .keel, .sharegpt, .alpaca]
            do {
                let path = try folder.write("rows.jsonl", JSON.object(row).text())
                let data = try Dataset.load(
                    path: path, wanted: wanted, layout: layouts[number % 4],
                    conversation: conversations[number % 3])
                for index in 0..<data.count {
                    _ = (data.row(index), data.place(index), data.spokenPrompt(index))
                }
                _ = try TokenizedDataset.tokenize(
                    data, tokenizer: tokenizer, limits: LengthLimits(maxLength: 8),
                    cacheDirectory: nil)
                loaded += 1
            } catch let errors as KeelErrors {
                #expect(errors.errors.allSatisfy { $0.at?.contains("rows.jsonl:1") == true })
                refused += 1
            } catch let error as KeelError {
                #expect(error.at?.contains("rows.jsonl") == true, "\(error)")
                refused += 1
            }
        }
        #expect(loaded + refused == 1500 && refused > 100, "\(loaded) loaded, \(refused) refused")
    }
}
