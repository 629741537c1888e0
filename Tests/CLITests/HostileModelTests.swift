import Foundation
import KeelCore
import KeelTestSupport
import Testing

/// Damaged and lying model folders, given to the built `keel`.
@Suite struct HostileModelTests {
    let work: HostileFolder

    init() throws { work = try HostileFolder() }

    /// Everything that loads the whole model in `base`.
    private func expectRefusal(
        _ code: ExitCode, _ error: String, sourceLocation: SourceLocation = #_sourceLocation
    ) throws {
        let model = work.folder.path("base")
        for (arguments, input) in [
            (["train", "dpo.json"], ""), (["check", "dpo.json"], ""),
            (["forward", "--model", model], "[1, 2]\n"),
            (["generate", "--model", model, "--prompt", "Tell me"], ""),
        ] {
            try work.expectRefusal(
                arguments, input: input, code, error, sourceLocation: sourceLocation)
        }
    }

    // MARK: - Weights

    private static let getAgain = "the file is damaged or not a safetensors file: get it again"

    @Test(arguments: [
        (4, "4 bytes are too few for a safetensors file", ""),
        (1000, "the header is said to have 2144 bytes, but the file has 1000", ""),
        (
            100_000, "its data end at 243200, but there are 97848 bytes of data",
            ", tensor model.embed_tokens.weight"
        ),
    ])
    func weightsCutOff(length: Int, what: String, tensor: String) throws {
        let bytes = try Files.read(work.folder.path("base/model.safetensors"))
        try work.write("base/model.safetensors", Array(bytes.prefix(length)))
        try expectRefusal(
            .badData,
            HostileFolder.error(
                "safetensors", what, at: "$DIR/base/model.safetensors\(tensor)",
                fix: HostileModelTests.getAgain))
    }

    /// Headers that lie.
    @Test(arguments: [
        (
            "header_huge",
            "the header is said to have 9223372036854775807 bytes, but the file has 176", ""
        ),
        (
            "header_longer_than_file",
            "the header is said to have 1000000 bytes, but the file has 120", ""
        ),
        ("past_end", "its data end at 456, but there are 56 bytes of data", ", tensor b"),
        ("overlap", "its bytes overlap another tensor's", ", tensor b"),
        (
            "shape_overflow",
            "the shape [4611686018427387904, 4611686018427387904, 4] overflows", ", tensor w"
        ),
    ])
    func weightsThatLie(file: String, what: String, tensor: String) throws {
        let fixture = URL(fileURLWithPath: #filePath).deletingLastPathComponent()
            .appendingPathComponent("../Fixtures/safetensors/\(file).safetensors").standardized
        try work.write("base/model.safetensors", try Files.read(fixture.path))
        try expectRefusal(
            .badData,
            HostileFolder.error(
                "safetensors", what, at: "$DIR/base/model.safetensors\(tensor)",
                fix: HostileModelTests.getAgain))
    }

    @Test func noWeights() throws {
        try Files.remove(work.folder.path("base/model.safetensors"))
        try expectRefusal(
            .noInput,
            """
            error[model]: no model.safetensors in the model's folder
              at:  $DIR/base/model.safetensors
              fix: give the folder that holds config.json and model.safetensors
            """)
    }

    // MARK: - config.json

    @Test(arguments: [
        ("", "json", "not valid JSON: the text ends before the value does", ":1:1"),
        ("{", "json", "not valid JSON: unexpected end of data", ":1:2"),
        ("[]", "model", "config.json holds a list, not an object", ""),
        ("{}", "model", "config.json has no \"model_type\"", ""),
    ])
    func brokenConfig(text: String, area: String, what: String, place: String) throws {
        try work.folder.write("base/config.json", text)
        try expectRefusal(
            .badData,
            HostileFolder.error(
                area, what, at: "$DIR/base/config.json\(place)",
                fix: "get the model's config.json again"))
    }

    @Test(arguments: [
        (
            "\"llama\"", "\"mamba\"", "unknown model family \"mamba\"",
            "config.json, key model_type",
            "use one of: llama, mistral, qwen2, qwen3, phi3, gemma2, gemma3_text, gpt2, gpt_neox"
        ),
        (
            "\"hidden_size\": 16", "\"hidden_size\": 16777216",
            "tensor of shape [3800, 16], but config.json makes it [3800, 16777216]",
            "model.safetensors, tensor model.embed_tokens.weight",
            "config.json and the weights do not belong together"
        ),
        (
            "\"num_hidden_layers\": 2", "\"num_hidden_layers\": 3",
            "the weights have no tensor model.layers.2.input_layernorm.weight", "model.safetensors",
            "config.json and the weights do not belong together"
        ),
    ])
    func configOfAnotherModel(
        old: String, new: String, what: String, place: String, fix: String
    ) throws {
        let text = try work.folder.read("base/config.json")
        try #require(text.contains(old))
        try work.folder.write(
            "base/config.json", text.replacingOccurrences(of: old, with: new))
        try expectRefusal(
            .badData, HostileFolder.error("model", what, at: "$DIR/base/\(place)", fix: fix))
    }

    // MARK: - tokenizer.json

    private static let newTokenizer = "get tokenizer.json from the model's repository again"

    private func expectTokenizerRefusal(_ error: String) throws {
        let model = work.folder.path("base")
        for (arguments, input) in [
            (["train", "dpo.json"], ""), (["check", "dpo.json"], ""),
            (["tokenize", "--model", model], "\"Tell me\"\n"),
            (["generate", "--model", model, "--prompt", "Tell me"], ""),
        ] {
            try work.expectRefusal(arguments, input: input, .badData, error)
        }
    }

    @Test(arguments: [0, 10_000])
    func tokenizerCutOff(length: Int) throws {
        let bytes = try Files.read(work.folder.path("base/tokenizer.json"))
        try work.write("base/tokenizer.json", Array(bytes.prefix(length)))
        try expectTokenizerRefusal(
            HostileFolder.error(
                "json",
                length == 0
                    ? "not valid JSON: the text ends before the value does"
                    : "not valid JSON: unexpected end of data",
                at: "$DIR/base/tokenizer.json:1:\(length + 1)", fix: HostileModelTests.newTokenizer)
        )
    }

    @Test func tokenizerOfAnotherType() throws {
        let text = try work.folder.read("base/tokenizer.json")
        try #require(text.contains("\"BPE\""))
        try work.folder.write(
            "base/tokenizer.json", text.replacingOccurrences(of: "\"BPE\"", with: "\"WordPeace\""))
        try expectTokenizerRefusal(
            """
            error[tokenizer]: the model type "WordPeace" is not known; did you mean "WordPiece"?
              at:  $DIR/base/tokenizer.json, model
              fix: use a tokenizer whose model is one of: BPE, Unigram, WordPiece
            """)
    }

    /// A tokenizer that gives ids beyond the model's vocabulary is found before a run begins.
    @Test func tokenizerOfAnotherModel() throws {
        let config = try work.folder.read("base/config.json")
        try work.folder.write(
            "small.json",
            config.replacingOccurrences(of: "\"vocab_size\": 3800", with: "\"vocab_size\": 300"))
        let made = try keel(
            [
                "model", "init", "--config", "small.json", "--tokenizer", "base", "--seed", "1",
                "small",
            ],
            in: work.folder.path)
        try #require(made.code == 0, "\(made.errors)")
        for command in ["train", "check"] {
            for config in ["dpo.json", "length.json"] {
                try work.folder.write("length.json", HostileFolder.rloo("length"))
                try work.expectRefusal(
                    [command, config, "--set", "model.path=small"], .badData,
                    """
                    error[data]: the tokenizer gives token id 399, the model's vocabulary has 300
                      at:  $DIR/train.jsonl:1
                      fix: use the tokenizer that came with the model
                    """)
            }
        }
        try work.expectRefusal(
            ["generate", "--model", "small", "--prompt", "Tell me"], .badData,
            """
            error[generate]: token id 399 is not in the model's vocabulary of 300
              fix: use the tokenizer that came with the model
            """)
    }
}
