import Foundation
import KeelCore
import KeelModel
import KeelTensor
import KeelTestSupport
import Testing

@testable import KeelHost

/// `keel model export`, read back by a reader that follows GGUF's description and nothing of ours.
@Suite struct ModelExportTests {
    private static let fixtures = URL(fileURLWithPath: #filePath).deletingLastPathComponent()
        .appendingPathComponent("../../Fixtures/models").standardized.path

    /// The models have 512 ids, as the tokenizers `small_*`.
    private func export(
        _ model: String, _ dtype: String? = nil, tokenizer: String = "small_llama"
    ) throws -> GGUFReader {
        let folder = try TemporaryFolder()
        try Files.makeDirectory(folder.path("model"))
        for source in [model, "../tokenizers/\(tokenizer)"] {
            let from = Files.join(ModelExportTests.fixtures, source)
            for name in try Files.list(from) where name != "vectors.json" {
                try Files.copy(Files.join(from, name), to: folder.path("model/\(name)"))
            }
        }
        let out = folder.path("model.gguf")
        try ModelCommand.export(folder.path("model"), gguf: out, dtype: dtype)
        return try GGUFReader(try Files.read(out))
    }

    private func weight(_ model: String, _ name: String) throws -> [Float] {
        let files = try WeightFiles(directory: Files.join(ModelExportTests.fixtures, model))
        return try #require(files[name]).tensor(dtype: .f32, device: .cpu(threads: 1)).floats()
    }

    /// Every architecture: its name, how many tensors, and one that only it has.
    @Test(arguments: [
        ("llama", "llama", "blk.0.ffn_gate.weight"), ("mistral", "llama", "output.weight"),
        ("llama3", "llama", "rope_freqs.weight"), ("qwen2", "qwen2", "blk.0.attn_q.bias"),
        ("qwen3", "qwen3", "blk.2.attn_k_norm.weight"), ("gpt2", "gpt2", "position_embd.weight"),
        ("gpt_neox", "gptneox", "blk.0.attn_qkv.bias"), ("phi3", "phi3", "blk.0.attn_qkv.weight"),
        ("gemma2", "gemma2", "blk.0.post_ffw_norm.weight"),
        ("gemma3", "gemma3", "blk.0.post_attention_norm.weight"),
    ])
    func everyFamily(_ model: String, _ architecture: String, _ tensor: String) throws {
        let file = try export(model)
        #expect(file.texts["general.architecture"] == architecture)
        #expect(file.tensors[tensor] != nil, "\(file.tensors.keys.sorted())")
        #expect(file.numbers["\(architecture).block_count"] ?? 0 > 1)
        let vocabulary = try #require(file.numbers["\(architecture).vocab_size"])
        #expect(file.lists["tokenizer.ggml.tokens"]?.count == Int(vocabulary))
        #expect(file.lists["tokenizer.ggml.token_type"]?.count == Int(vocabulary))
        let own = try ModelDirectory(Files.join(ModelExportTests.fixtures, model)).match()
        let isExtra = model == "llama3"
        #expect(file.tensors.count == own.count + (isExtra ? 1 : 0))
        #expect(
            file.tensors.values.reduce(0) { $0 + $1.cells.count }
                == own.reduce(0) { $0 + $1.weight.count }
                + (file.tensors["rope_freqs.weight"]?.cells.count ?? 0))
    }

    /// Halves of a head become neighbours; values keep their order.
    @Test func llamaTurnsNeighbours() throws {
        let file = try export("llama")
        let heads = Int(try #require(file.numbers["llama.attention.head_count"]))
        let written = try #require(file.tensors["blk.1.attn_q.weight"])
        let own = try weight("llama", "model.layers.1.self_attn.q_proj.weight")
        let (rows, width) = (written.shape[1], written.shape[0])
        let size = rows / heads
        for head in 0..<heads {
            for pair in 0..<size / 2 {
                for half in 0..<2 {
                    let new = head * size + 2 * pair + half
                    let old = head * size + half * size / 2 + pair
                    #expect(
                        written.cells[new * width..<(new + 1) * width]
                            == own[old * width..<(old + 1) * width])
                }
            }
        }
        #expect(
            try #require(file.tensors["blk.1.attn_v.weight"]).cells
                == weight("llama", "model.layers.1.self_attn.v_proj.weight"))
    }

    @Test func gpt2IsTurnedRound() throws {
        let written = try #require(try export("gpt2").tensors["blk.0.ffn_up.weight"])
        let own = try weight("gpt2", "transformer.h.0.mlp.c_fc.weight")
        let (input, output) = (written.shape[0], written.shape[1])
        for i in [0, 1, input - 1] {
            for o in [0, 1, output - 1] {
                #expect(written.cells[o * input + i] == own[i * output + o])
            }
        }
    }

    /// From head after head, each its query, key and value, to all queries, all keys, all values.
    @Test func neoxIsUnwoven() throws {
        let file = try export("gpt_neox")
        let heads = Int(try #require(file.numbers["gptneox.attention.head_count"]))
        let written = try #require(file.tensors["blk.0.attn_qkv.bias"]).cells
        let own = try weight("gpt_neox", "gpt_neox.layers.0.attention.query_key_value.bias")
        let size = written.count / 3 / heads
        for part in 0..<3 {
            for head in 0..<heads {
                let new = (part * heads + head) * size
                let old = (head * 3 + part) * size
                #expect(written[new..<new + size] == own[old..<old + size])
            }
        }
    }

    /// Norms that add one to their weight; scores that are scaled otherwise than llama.cpp does it.
    @Test func gemmasOddities() throws {
        let file = try export("gemma2")
        let norm = try #require(file.tensors["output_norm.weight"]).cells
        #expect(try norm == weight("gemma2", "model.norm.weight").map { $0 + 1 })
        let directory = try ModelDirectory(Files.join(ModelExportTests.fixtures, "gemma2"))
        let attention = directory.architecture.blocks[0].attention
        let factor = attention.scale * Float(attention.headSize).squareRoot()
        #expect(factor != 1)
        let query = try #require(file.tensors["blk.0.attn_q.weight"]).cells
        let own = try weight("gemma2", "model.layers.0.self_attn.q_proj.weight")
        #expect(zip(query, own).allSatisfy { abs($0 - $1 * factor) <= 1e-6 * abs($1) })
        #expect(file.numbers["gemma2.attn_logit_softcapping"] == attention.softcap.map(Double.init))
    }

    @Test(arguments: [("f16", 1), ("bf16", 30)])
    func narrowCells(_ dtype: String, _ type: Int) throws {
        let file = try export("llama", dtype)
        let matrix = try #require(file.tensors["token_embd.weight"])
        #expect(matrix.type == type)
        #expect(file.tensors["output_norm.weight"]?.type == 0)
        let own = try weight("llama", "model.embed_tokens.weight")
        let bound: Float = dtype == "f16" ? 1 / 2048 : 1 / 256
        #expect(zip(matrix.cells, own).allSatisfy { abs($0 - $1) <= bound * abs($1) + 1e-7 })
    }

    /// The merges of a byte-level tokenizer; of a SentencePiece one the scores that give the same order.
    @Test func tokenizers() throws {
        let bytes = try export("qwen2", tokenizer: "small_qwen2")
        #expect(bytes.texts["tokenizer.ggml.model"] == "gpt2")
        #expect(bytes.texts["tokenizer.ggml.pre"] == "qwen2")
        #expect(try #require(bytes.lists["tokenizer.ggml.merges"]).count > 10)
        let pieces = try export("llama")
        #expect(pieces.texts["tokenizer.ggml.model"] == "llama")
        #expect(pieces.bools["tokenizer.ggml.add_bos_token"] == true)
        let types = try #require(pieces.lists["tokenizer.ggml.token_type"])
        #expect(types.filter { $0 == "6" }.count == 256)
        #expect(try #require(pieces.lists["tokenizer.ggml.scores"]).contains("-1.0"))
    }

    @Test func whatCannotBeExportedIsRefused() throws {
        let folder = try TemporaryFolder()
        #expect(throws: KeelError.self) {
            try ModelCommand.export(
                Files.join(ModelExportTests.fixtures, "llama"), gguf: folder.path("x"),
                dtype: "q4_0")
        }
        #expect(!Files.exists(folder.path("x")))
    }
}

/// Reads what the description of GGUF says; small and slow.
private struct GGUFReader {
    struct Tensor {
        /// The axis that runs fastest first, as the file has it.
        var shape: [Int]
        var type: Int
        var cells: [Float]
    }

    struct Malformed: Error {}

    var texts: [String: String] = [:]
    var numbers: [String: Double] = [:]
    var bools: [String: Bool] = [:]
    var lists: [String: [String]] = [:]
    var tensors: [String: Tensor] = [:]
    private var bytes: [UInt8]
    private var at = 0

    init(_ bytes: [UInt8]) throws {
        self.bytes = bytes
        guard try word(4) == 0x4655_4747, try word(4) == 3 else { throw Malformed() }
        let (tensorCount, valueCount) = (try word(8), try word(8))
        for _ in 0..<valueCount {
            let key = try text()
            switch try word(4) {
            case 4: numbers[key] = Double(try word(4))
            case 6: numbers[key] = Double(Float(bitPattern: UInt32(try word(4))))
            case 7: bools[key] = try word(1) != 0
            case 8: texts[key] = try text()
            case 9: lists[key] = try list()
            default: throw Malformed()
            }
        }
        var places: [(name: String, shape: [Int], type: Int, offset: Int)] = []
        for _ in 0..<tensorCount {
            let name = try text()
            let shape = try (0..<word(4)).map { _ in try word(8) }
            places.append((name, shape, try word(4), try word(8)))
        }
        let start = (at + 31) / 32 * 32
        for place in places {
            guard place.offset % 32 == 0 else { throw Malformed() }
            at = start + place.offset
            let cells = try (0..<place.shape.reduce(1, *)).map { _ -> Float in
                switch place.type {
                case 0: Float(bitPattern: UInt32(try word(4)))
                case 1: Float(Float16(bitPattern: UInt16(try word(2))))
                case 30: Float(bitPattern: UInt32(try word(2)) << 16)
                default: throw Malformed()
                }
            }
            tensors[place.name] = Tensor(shape: place.shape, type: place.type, cells: cells)
        }
    }

    private mutating func word(_ size: Int) throws -> Int {
        guard at + size <= bytes.count else { throw Malformed() }
        defer { at += size }
        return (0..<size).reduce(0) { $0 | Int(bytes[at + $1]) << (8 * $1) }
    }

    private mutating func text() throws -> String {
        let length = try word(8)
        guard at + length <= bytes.count else { throw Malformed() }
        defer { at += length }
        return String(decoding: bytes[at..<at + length], as: UTF8.self)
    }

    private mutating func list() throws -> [String] {
        let type = try word(4)
        return try (0..<word(8)).map { _ in
            switch type {
            case 0: String(try word(1))
            case 5: String(Int32(truncatingIfNeeded: try word(4)))
            case 6: String(Float(bitPattern: UInt32(try word(4))))
            case 8: try text()
            default: throw Malformed()
            }
        }
    }
}
