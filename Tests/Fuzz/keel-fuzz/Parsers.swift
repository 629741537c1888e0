import Glibc
import KeelCore
import KeelData
import KeelModel
import KeelTensor
import KeelText

/// A parser of foreign bytes, with what it needs beside them.
protocol FuzzedParser {
    /// - Throws: `KeelError` for bytes that cannot be read.
    func read(_ bytes: UnsafeRawBufferPointer) throws
}

/// By the names that the command line takes.
let parsers: [(name: String, make: @Sendable () throws -> any FuzzedParser)] = [
    ("json", { JSONParser() }), ("jsonl", { LinesParser(try ScratchFile("rows.jsonl")) }),
    ("tokenizer", { TokenizerParser() }), ("template", { try TemplateParser() }),
    ("config", { ConfigParser() }),
    ("safetensors", { SafetensorsParser(try ScratchFile("model.safetensors")) }),
    ("adapter_config", { try AdapterParser(mutated: "adapter_config.json") }),
    ("adapter_weights", { try AdapterParser(mutated: "adapter_model.safetensors") }),
]

struct JSONParser: FuzzedParser {
    func read(_ bytes: UnsafeRawBufferPointer) throws {
        let json = try JSON.parse(bytes, name: "fuzzed", duplicates: .reject)
        // What was read is written, and read again as the same.
        guard try JSON.parse(json.text(), name: "written") == json else {
            fatalError("\(json.text()) is read as something else")
        }
    }
}

struct LinesParser: FuzzedParser {
    private let file: ScratchFile

    init(_ file: ScratchFile) { self.file = file }

    func read(_ bytes: UnsafeRawBufferPointer) throws {
        try file.write(bytes)
        let reader = try JSONLReader(file.path)
        for row in 0..<reader.count { _ = try reader.json(row) }
    }
}

struct TokenizerParser: FuzzedParser {
    func read(_ bytes: UnsafeRawBufferPointer) throws {
        let tokenizer = try Tokenizer(json: bytes, name: "tokenizer.json")
        for text in ["Hello, world! It's  42\n", "\u{e9}\u{301} \u{4f60}\u{597d} <s>\u{0}", ""] {
            let ids = try tokenizer.ids(text)
            _ = try tokenizer.encode(text, addSpecial: false)
            _ = try tokenizer.decode(ids, skipSpecial: true)
        }
    }
}

struct TemplateParser: FuzzedParser {
    private let messages: JSON

    init() throws {
        messages = try JSON.parse(
            """
            [{"role": "system", "content": "Be kind."}, {"role": "user", "content": "Hi\\n"},
             {"role": "assistant", "content": " Hello "}]
            """)
    }

    func read(_ bytes: UnsafeRawBufferPointer) throws {
        let template = try ChatTemplate(
            String(decoding: bytes, as: UTF8.self), name: "fuzzed", specials: ["eos_token": "</s>"])
        _ = try template.render(messages, addGenerationPrompt: true)
        _ = try template.renderTurns(messages, closing: ["</s>"])
    }
}

struct ConfigParser: FuzzedParser {
    func read(_ bytes: UnsafeRawBufferPointer) throws {
        let json = try JSON.parse(bytes, name: "config.json", duplicates: .reject)
        guard let object = json.object else { return }
        let config = ModelConfig(object, path: "config.json")
        let architecture = try Families.architecture(of: config)
        _ = architecture.weights
    }
}

struct SafetensorsParser: FuzzedParser {
    private let file: ScratchFile

    init(_ file: ScratchFile) { self.file = file }

    func read(_ bytes: UnsafeRawBufferPointer) throws {
        try file.write(bytes)
        let opened = try SafetensorsFile(file.path)
        for entry in opened.entries {
            _ = try opened.tensor(entry, dtype: .f32, device: .cpu(threads: 1))
        }
    }
}

/// A PEFT folder of which one file is mutated.
struct AdapterParser: FuzzedParser {
    private let model: Model
    private let folder: String
    private let file: ScratchFile

    init(mutated name: String) throws {
        let config = try JSON.parse(
            """
            {"model_type": "llama", "architectures": ["LlamaForCausalLM"], "vocab_size": 32, "hidden_size": 8,
             "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
            """)
        model = try Model.new(
            ModelConfig(config.object ?? [:], path: "config.json"), seed: 1,
            device: .cpu(threads: 1))
        file = try ScratchFile(name)
        folder = Files.parent(file.path)
        let lora = try JSON.parse(
            "{\"peft_type\": \"LORA\", \"r\": 2, \"lora_alpha\": 4, \"target_modules\": [\"q_proj\"]}"
        )
        try model.adapted(LoRAConfig(lora, path: "adapter_config.json"), seed: 1)
            .saveAdapter(to: folder, base: "base")
    }

    func read(_ bytes: UnsafeRawBufferPointer) throws {
        try file.write(bytes)
        _ = try model.adapted(directory: folder)
    }
}

/// A file in memory, in a folder of its own.
final class ScratchFile {
    let path: String

    init(_ name: String) throws {
        let folder = "/dev/shm/keel-fuzz-\(getpid())"
        try Files.makeDirectory(folder)
        path = Files.join(folder, name)
    }

    func write(_ bytes: UnsafeRawBufferPointer) throws {
        let descriptor = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0o600)
        guard descriptor >= 0 else { throw Files.error("cannot write", path) }
        defer { close(descriptor) }
        var at = 0
        while at < bytes.count {
            let count = Glibc.write(descriptor, bytes.baseAddress.map { $0 + at }, bytes.count - at)
            guard count > 0 else { throw Files.error("cannot write", path) }
            at += count
        }
    }

    deinit { try? Files.remove(Files.parent(path)) }
}
