import Foundation
import KeelCore
import KeelHost
import KeelModel
import KeelTensor
import Testing

/// `keel forward`, `keel generate` and `keel model` on the checkpoints that lie beside the tests.
@Suite struct ModelCommandsTests {
    static let fixtures = URL(fileURLWithPath: #filePath).deletingLastPathComponent()
        .deletingLastPathComponent()
        .deletingLastPathComponent().appendingPathComponent("Fixtures").path

    static func model(_ name: String) -> String { Files.join(fixtures, "models/\(name)") }

    static func vectors(_ name: String) throws -> JSON {
        let path = Files.join(model(name), "vectors.json")
        return try JSON.parse(try Files.read(path), name: path)
    }

    private func forward(grads: Bool = false, lastLogits: Bool = false) throws -> ForwardCommand {
        var options = ForwardCommand.Options(model: ModelCommandsTests.model("gpt2"))
        options.grads = grads
        options.lastLogits = lastLogits
        options.threads = 1
        return try ForwardCommand(options)
    }

    @Test func aLineOfIDs() throws {
        let want = try #require(ModelCommandsTests.vectors("gpt2")["sequences"]?[1])
        let answer = try forward(lastLogits: true).answer(try #require(want["input_ids"]))
        let logprobs = try #require(answer["logprobs"]?.array).compactMap(\.double)
        let expected = try #require(want["token_logprobs"]?.array).compactMap(\.double)
        #expect(logprobs.count == expected.count)
        #expect(zip(logprobs, expected).allSatisfy { abs($0 - $1) < 9e-5 })
        let mean = -logprobs.reduce(0, +) / Double(logprobs.count)
        #expect(abs((answer["loss"]?.double ?? 0) - mean) < 1e-12)
        #expect(answer["last_logits"]?.array?.count == 512)
    }

    @Test func oneIDHasNoLoss() throws {
        let answer = try forward().answer([5])
        #expect(answer == ["logprobs": [], "loss": nil])
    }

    @Test func aBatchWithGradientsAndSteps() throws {
        let vectors = try ModelCommandsTests.vectors("gpt2")
        let loss = try #require(vectors["loss"])
        let sequences = try #require(loss["sequence_index"]?.array).map { index in
            vectors["sequences"]?[index.int ?? 0]?["input_ids"] ?? .null
        }
        let adamw = try #require(vectors["adamw"])
        var settings: JSONObject = ["steps": 3]
        for key in ["lr", "beta1", "beta2", "eps", "weight_decay"] { settings[key] = adamw[key] }
        let name = "transformer.h.1.mlp.c_fc.weight"
        let request: JSONObject = [
            "batch": .array(sequences), "prompt_len": loss["prompt_len"] ?? .null,
            "entries": [name: loss["grads"]?[name]?["idx"] ?? .null],
        ]
        let command = try forward(grads: true)
        var withSteps = request
        withSteps["adamw"] = .object(settings)
        let stepped = try command.answer(.object(withSteps))
        // The steps are taken back: the same question has the same answer.
        let answer = try command.answer(.object(request))
        #expect(answer["grads"] == stepped["grads"])
        #expect(answer["n_targets"] == loss["n_targets"])
        #expect(abs((answer["loss"]?.double ?? 0) - (loss["value"]?.double ?? 1)) < 9e-6)
        let values = try #require(answer["grads"]?[name]?["val"]?.array).compactMap(\.double)
        let expected = try #require(loss["grads"]?[name]?["val"]?.array).compactMap(\.double)
        #expect(
            zip(values, expected).allSatisfy { abs($0 - $1) < 1e-4 }
                && values.count == expected.count)
        let losses = try #require(stepped["losses"]?.array).compactMap(\.double)
        let wanted = try #require(adamw["loss_before_each_step_and_after_last"]?.array).compactMap(
            \.double)
        #expect(zip(losses, wanted).allSatisfy { abs($0 - $1) < 2e-5 } && losses.count == 4)
        #expect(stepped["grad_l2"]?.array?.count == 3)
        #expect(stepped["params"]?[name]?["val"]?.array?.count == expected.count)
    }

    @Test(arguments: [
        (false, "[]", "empty"), (false, "[1, 600]", "token id 600"),
        (false, "[1, 2.5]", "item 1 of the line"),
        (false, "{\"batch\": [[1, 2]]}", "--grads"), (true, "{\"batch\": []}", "no \"batch\""),
        (true, "{\"batch\": [[1, 2]], \"prompt_len\": [2]}", "nothing to train"),
        (true, "{\"batch\": [[1, 2]], \"prompt_len\": [1, 1]}", "one number for each of 1"),
        (
            true, "{\"batch\": [[1, 2]], \"entries\": {\"transformer.wte.wieght\": [0]}}",
            "no tensor"
        ),
        (true, "{\"batch\": [[1, 2]], \"entries\": {\"transformer.ln_f.bias\": [64]}}", "entry 64"),
        (true, "{\"chosen\": [[1]], \"rejected\": [[2]]}", "reward model"),
        (true, "7", "an integer"),
    ])
    func linesThatCannotBeAnswered(grads: Bool, line: String, words: String) throws {
        let error = try #require(throws: KeelError.self) {
            _ = try forward(grads: grads).answer(try JSON.parse(line))
        }
        #expect(error.what.contains(words), "\(error)")
    }

    private func generate(_ change: (inout GenerateCommand.Options) -> Void) throws -> [String] {
        var options = GenerateCommand.Options(model: ModelCommandsTests.model("gpt2"))
        options.maxNewTokens = 5
        options.threads = 1
        change(&options)
        var lines: [String] = []
        try GenerateCommand(options).run { lines.append($0) }
        return lines
    }

    @Test func completionsAsJSON() throws {
        let lines = try generate {
            $0.promptIDs = "[3, 4]"
            $0.count = 3
            $0.json = true
            $0.ignoreEOS = true
        }
        #expect(lines.count == 3)
        for line in lines {
            let value = try JSON.parse(line)
            #expect(value["prompt_ids"] == [3, 4])
            #expect(value["completion_ids"]?.array?.count == 5)
            #expect(value["logprobs"]?.array?.count == 5)
            #expect(value["finish_reason"] == "length")
            #expect(value["completion"]?.isNull == true)  // this folder has no tokenizer
        }
        #expect(Set(lines).count == 3)
    }

    @Test func promptsOfAFileComeOutInTheirOrder() throws {
        let folder = FileManager.default.temporaryDirectory.appendingPathComponent(
            "keel-\(UUID().uuidString)"
        ).path
        try Files.makeDirectory(folder)
        defer { try? Files.remove(folder) }
        // Text needs a tokenizer: ids alone do not, but the file may hold either.
        let file = Files.join(folder, "prompts.jsonl")
        try AtomicWrite.file(file, "{\"prompt_ids\": [1]}\n\n{\"prompt_ids\": [2, 3]}\n")
        #expect(throws: KeelError.self) { _ = try generate { $0.promptsFile = file } }
    }

    @Test(
        arguments: [
            (nil, nil, 5), ("[1]", "x", 5), ("[1]", nil, 0), ("[1, 2", nil, 5), ("[]", nil, 5),
            ("[600]", nil, 5),
        ] as [(String?, String?, Int)])
    func optionsThatDoNotFit(ids: String?, prompt: String?, tokens: Int) {
        #expect(throws: KeelError.self) {
            _ = try generate {
                $0.promptIDs = ids
                $0.prompt = prompt
                $0.maxNewTokens = tokens
            }
        }
    }

    @Test func infoCountsWithoutReadingWeights() throws {
        let info = try ModelCommand.info(ModelCommandsTests.model("gpt2")).json
        #expect(info["family"] == "gpt2" && info["dtype"] == "float32" && info["context"] == 128)
        #expect(info["parameters"] == 191_040)
        #expect(info["eos"] == [511] && info["tied_head"] == true && info["tokenizer"] == false)
    }

    @Test func initMakesAFolderThatLoads() throws {
        let folder = FileManager.default.temporaryDirectory.appendingPathComponent(
            "keel-\(UUID().uuidString)"
        ).path
        try Files.makeDirectory(folder)
        defer { try? Files.remove(folder) }
        let config = Files.join(ModelCommandsTests.model("llama_bf16"), "config.json")
        let source = Files.join(folder, "tokenizer.json")
        try AtomicWrite.file(source, "{\"model\": {}}")
        let outs = ["a", "b"].map { Files.join(folder, $0) }
        for out in outs {
            try ModelCommand.initialise(
                config: config, tokenizer: source, seed: 4, out: out, threads: 1)
        }
        #expect(
            try Files.list(outs[0]) == [
                "config.json", "generation_config.json", "model.safetensors", "tokenizer.json",
            ])
        let weights = outs.map { Files.join($0, "model.safetensors") }
        #expect(try SHA256.hex(file: weights[0]) == SHA256.hex(file: weights[1]))
        #expect(
            try Model.load(directory: outs[0], dtype: .f32, device: .cpu(threads: 1)).eosIDs == [2])
        let error = try #require(throws: KeelError.self) {
            try ModelCommand.initialise(config: config, tokenizer: source, seed: 4, out: outs[0])
        }
        #expect(error.code == .cannotCreate)
    }
}
