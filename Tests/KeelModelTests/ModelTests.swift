import KeelCore
import KeelModel
import KeelTensor
import KeelTestSupport
import Testing

@Suite struct ModelTests {
    static let names = ["llama_bf16", "gpt2"]

    /// Saved in f32 and loaded again: the same bits, the same names, the same config.
    @Test(arguments: names)
    func savedAndLoadedIsTheSame(name: String) throws {
        let model = try Model.load(directory: Fixture.model(name), dtype: .f32, device: testDevice)
        try withFolder { folder in
            try model.save(to: folder)
            let again = try Model.load(directory: folder, dtype: .f32, device: testDevice)
            #expect(again.parameters.map(\.name) == model.parameters.map(\.name))
            for (a, b) in zip(model.parameters, again.parameters) {
                #expect(a.master.bytes() == b.master.bytes())
            }
            #expect(again.eosIDs == model.eosIDs)
            let before = model.config.source
            let after = again.config.source
            #expect(after.keys == before.keys)
            for (key, value) in before where key != "dtype" && key != "torch_dtype" {
                #expect(after[key] == value, "\(key)")
            }
            #expect(again.config.dtypeName == "float32")
            #expect(
                try Files.list(folder) == [
                    "config.json", "generation_config.json", "model.safetensors",
                ])
        }
    }

    @Test func storedInTheTypeThatIsAskedFor() throws {
        let folder = Fixture.model("llama_bf16")
        let model = try Model.load(directory: folder, dtype: .bf16, device: testDevice)
        #expect(model.storedType == .bf16)
        try withFolder { out in
            try model.save(to: out, as: .bf16)
            let (a, b) = try (WeightFiles(directory: folder), WeightFiles(directory: out))
            #expect(a.names == b.names)
            // Nothing was trained, so rounding gives back every bit.
            for name in a.names {
                let (x, y) = try (#require(a[name]), #require(b[name]))
                #expect(y.entry.type == .bf16)
                #expect(try x.file.bytes(x.entry) == y.file.bytes(y.entry))
            }
            #expect(
                try ModelConfig(path: Files.join(out, "config.json")).source["torch_dtype"]
                    == "bfloat16")
        }
    }

    @Test func endIDsComeFromBothFiles() throws {
        try withFolder { folder in
            try tinyModel("llama", changes: ["eos_token_id": [2, 7]]).save(to: folder)
            try AtomicWrite.file(
                Files.join(folder, "generation_config.json"), "{\"eos_token_id\": [9, 2]}")
            #expect(
                try Model.load(directory: folder, dtype: .f32, device: testDevice).eosIDs == [
                    9, 2, 7,
                ])
        }
    }

    @Test func newWeightsDependOnSeedAndNameOnly() throws {
        let config: JSONObject = [
            "model_type": "llama", "vocab_size": 400, "hidden_size": 32, "intermediate_size": 64,
            "num_hidden_layers": 2, "num_attention_heads": 4, "pad_token_id": 3,
        ]
        func new(_ seed: UInt64, _ changes: JSONObject = [:]) throws -> Model {
            var config = config
            for (key, value) in changes { config[key] = value }
            return try Model.new(
                ModelConfig(config, path: "config.json"), seed: seed, device: testDevice)
        }
        let (a, b, other) = try (new(1), new(1), new(2))
        for (p, q) in zip(a.parameters, b.parameters) {
            #expect(p.master.bytes() == q.master.bytes())
        }
        #expect(a.parameters[0].master.bytes() != other.parameters[0].master.bytes())
        // A deeper model begins with the same tensors.
        let deep = try new(1, ["num_hidden_layers": 3])
        for p in a.parameters {
            #expect(deep.parameter(named: p.name)?.master.bytes() == p.master.bytes())
        }
        let embedding = try #require(a.parameter(named: "model.embed_tokens.weight")).master
        #expect(embedding.rowsView(3, 1).doubles().allSatisfy { $0 == 0 })
        let values = embedding.doubles()
        let std = (values.reduce(0) { $0 + $1 * $1 } / Double(values.count)).squareRoot()
        // 12,800 draws of standard deviation 0.02: four standard errors are 2.5%.
        #expect(abs(std / 0.02 - 1) < 0.03)
        #expect(
            a.parameter(named: "model.norm.weight")?.master.doubles().allSatisfy { $0 == 1 } == true
        )
    }

    @Test(arguments: ["config.json", "model.safetensors"])
    func aMissingFileIsNamed(file: String) throws {
        try withFolder { folder in
            for name in try Files.list(Fixture.model("gpt2")) where name != file {
                try Files.copy(
                    Files.join(Fixture.model("gpt2"), name), to: Files.join(folder, name))
            }
            let error = try #require(throws: KeelError.self) {
                _ = try Model.load(directory: folder, dtype: .f32, device: testDevice)
            }
            #expect(error.code == .noInput)
            #expect(error.at?.hasSuffix(file) == true)
        }
    }

    @Test(
        arguments: [
            (["n_layer": 4], "no tensor transformer.h.3.ln_1.weight"),
            (["n_embd": 32], "tensor of shape [512, 64]"),
            (["tie_word_embeddings": false], "no tensor lm_head.weight"),
        ] as [(JSONObject, String)])
    func aConfigThatDoesNotFitTheWeights(changes: JSONObject, words: String) throws {
        try withFolder { folder in
            let source = Fixture.model("gpt2")
            var config = try ModelConfig(path: Files.join(source, "config.json")).source
            for (key, value) in changes { config[key] = value }
            try AtomicWrite.file(Files.join(folder, "config.json"), JSON.object(config).text())
            try Files.copy(
                Files.join(source, "model.safetensors"), to: Files.join(folder, "model.safetensors")
            )
            let error = try #require(throws: KeelError.self) {
                _ = try Model.load(directory: folder, dtype: .f32, device: testDevice)
            }
            #expect(error.code == .badData)
            #expect(error.what.contains(words), "\(error)")
        }
    }

    @Test func theHashNamesWeightsAndConfig() throws {
        try withFolder { folder in
            try tinyModel("llama").save(to: folder)
            let hash = try ModelDirectory(folder).contentHash(on: testDevice)
            #expect(try ModelDirectory(folder).contentHash(on: testDevice) == hash)
            let model = try Model.load(directory: folder, dtype: .f32, device: testDevice)
            model.parameters[0].assign(
                Tensor(zeros: model.parameters[0].shape, dtype: .f32, device: testDevice))
            try model.save(to: folder)
            #expect(try ModelDirectory(folder).contentHash(on: testDevice) != hash)
        }
    }
}
