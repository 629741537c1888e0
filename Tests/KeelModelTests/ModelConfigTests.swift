import KeelCore
import KeelModel
import Testing

@Suite struct ModelConfigTests {
    static let llama: JSONObject = [
        "model_type": "llama", "vocab_size": 32, "hidden_size": 16, "intermediate_size": 24,
        "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2,
    ]

    private func config(_ changes: JSONObject, of base: JSONObject = llama) -> ModelConfig {
        var object = base
        for (key, value) in changes { object[key] = value }
        return ModelConfig(object, path: "config.json")
    }

    @Test(
        arguments: [
            ["rope_theta": 500_000.0],
            ["rope_parameters": ["rope_theta": 500_000.0, "rope_type": "default"]],
            ["rope_theta": 500_000.0, "rope_scaling": nil],
        ] as [JSONObject])
    func bothSpellingsOfRope(changes: JSONObject) throws {
        let rope = try Families.architecture(of: config(changes)).blocks[1].attention.rope
        #expect(rope == Rope(theta: 500_000, dimensions: 4))
        #expect(rope?.frequencies[0] == 1)
    }

    @Test(
        arguments: [
            ["torch_dtype": "bfloat16"], ["dtype": "bfloat16"], ["torch_dtype": "torch.bfloat16"],
        ] as [JSONObject])
    func bothSpellingsOfType(changes: JSONObject) {
        #expect(config(changes).dtypeName == "bfloat16")
    }

    @Test func oneOrSeveralEndIDs() {
        #expect(config(["eos_token_id": 2]).eosIDs == [2])
        #expect(config(["eos_token_id": [7, 9]]).eosIDs == [7, 9])
        #expect(config(["eos_token_id": nil]).eosIDs == [])
    }

    @Test func headSizeMayStandByItself() throws {
        let attention = try Families.architecture(of: config(["head_dim": 6])).blocks[0].attention
        #expect(attention.headSize == 6)
        #expect(attention.output.weight.shape == [16, 24])
    }

    @Test(
        arguments: [
            (["rope_scaling": ["rope_type": "llama3", "factor": 8.0]], "\"llama3\""),
            (["rope_parameters": ["rope_type": "yarn", "rope_theta": 1e4]], "\"yarn\""),
            (["quantization_config": ["quant_method": "gptq"]], "gptq"),
            (["num_local_experts": 8], "experts"),
            (
                ["architectures": ["LlamaForSequenceClassification"]],
                "LlamaForSequenceClassification"
            ),
            (["hidden_act": "mish"], "mish"),
            (["model_type": "lama"], "did you mean \"llama\""),
            (["num_key_value_heads": 3], "4 heads cannot share 3"),
            (["hidden_size": "16"], "\"16\" is not an integer"),
            (["hidden_size": -16], "-16 is not an integer"),
            (["num_attention_heads": 4_611_686_018_427_387_904], "is not an integer in"),
            (["vocab_size": nil], "no \"vocab_size\""),
            (["rms_norm_eps": "tiny"], "is not a number"),
        ] as [(JSONObject, String)])
    func whatCannotBeDoneIsNamed(changes: JSONObject, words: String) throws {
        let error = try #require(throws: KeelError.self) {
            _ = try Families.architecture(of: config(changes))
        }
        #expect(error.code == .badData)
        #expect(error.description.contains(words), "\(error)")
        #expect(error.at?.hasPrefix("config.json") == true)
    }

    @Test func aHostileSizeIsRefusedNotAllocated() {
        let huge = config([
            "hidden_size": 16_777_216, "vocab_size": 16_777_216, "num_hidden_layers": 9999,
        ])
        // Describing it is fine: no tensor is made.
        #expect(throws: Never.self) {
            _ = try Families.architecture(of: huge).weights.reduce(0) { $0 + $1.count }
        }
    }

    /// Whatever a key holds: an architecture that can be counted, or an error; never a trap.
    @Test(arguments: ["llama_bf16", "gpt2"])
    func hostileValues(name: String) throws {
        let base = try ModelConfig(path: Fixture.path("models/\(name)/config.json")).source
        let values: [JSON] = [
            nil, -1, 0, 1, 3, 7, 1e300, -0.5, 9_223_372_036_854_775_807, 16_777_216, 16_384, "x",
            "", [], [[]],
            .object([:]), true, false,
        ]
        for key in base.keys + [
            "rope_parameters", "head_dim", "n_inner", "hidden_size", "attention_bias",
        ] {
            for value in values {
                var changed = base
                changed[key] = value
                do {
                    let architecture = try Families.architecture(
                        of: ModelConfig(changed, path: "config.json"))
                    #expect(architecture.weights.reduce(0) { $0 + $1.count } > 0)
                } catch is KeelError {}
            }
        }
    }

    @Test func gpt2ProjectionsIntoTheResidualStartSmaller() throws {
        let architecture = try Families.architecture(
            of: config(
                [:],
                of: [
                    "model_type": "gpt2", "vocab_size": 8, "n_embd": 4, "n_head": 2, "n_layer": 2,
                    "n_positions": 4,
                ]))
        #expect(architecture.blocks[0].mlp.down.weight.start == .normal(0.5))
        #expect(architecture.blocks[0].attention.output.weight.start == .normal(0.5))
        #expect(architecture.embedding.start == .normal(1))
        #expect(architecture.isTied)
    }
}
