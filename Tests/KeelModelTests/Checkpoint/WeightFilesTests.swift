import KeelCore
import KeelModel
import KeelTestSupport
import Testing

@Suite struct WeightFilesTests {
    /// A copy of the sharded model with another index.
    private func open(
        index: (JSONObject) -> JSON, without shard: String? = nil
    ) throws -> WeightFiles {
        let source = Fixture.model("llama_sharded")
        return try withFolder { folder in
            for name in try Files.list(source) where name != shard {
                try Files.copy(Files.join(source, name), to: Files.join(folder, name))
            }
            let path = Files.join(folder, "model.safetensors.index.json")
            let whole = try JSON.parse(try Files.read(path), name: path)
            try AtomicWrite.file(path, index(try #require(whole["weight_map"]?.object)).text())
            return try WeightFiles(directory: folder)
        }
    }

    @Test func everyTensorLiesInItsShard() throws {
        let weights = try WeightFiles(directory: Fixture.model("llama_sharded"))
        #expect(weights.files.count == 3)
        #expect(weights["model.norm.weight"] != nil)
        #expect(weights.names.count == Set(weights.names).count)
    }

    @Test(
        arguments: [
            ("model.norm.weight", "model-00009-of-00003.safetensors", "shards are not there"),
            ("model.norm.weight", "model-00001-of-00003.safetensors", "should lie in"),
            ("model.norm.weight", "../model.safetensors", "no file beside the index"),
            ("model.extra.weight", "model-00001-of-00003.safetensors", "no shard has it"),
        ])
    func anIndexThatDoesNotFitIsRefused(tensor: String, file: String, words: String) throws {
        let error = try #require(throws: KeelError.self) {
            _ = try open { map in
                var map = map
                map[tensor] = .string(file)
                return ["weight_map": .object(map)]
            }
        }
        #expect(error.description.contains(words), "\(error)")
        #expect(error.at?.hasSuffix("model.safetensors.index.json") == true)
    }

    @Test(arguments: [["weight_map": [:]], ["weight_map": 3], [], ["metadata": [:]]] as [JSON])
    func anIndexWithoutAMapIsRefused(index: JSON) throws {
        let error = try #require(throws: KeelError.self) { _ = try open { _ in index } }
        #expect(error.code == .badData)
        #expect(error.what.contains("weight_map"))
    }

    @Test func aMissingShardIsNamed() throws {
        let shard = "model-00002-of-00003.safetensors"
        let error = try #require(throws: KeelError.self) {
            _ = try open(index: { ["weight_map": .object($0)] }, without: shard)
        }
        #expect(error.code == .noInput)
        #expect(error.what.contains(shard))
    }
}
