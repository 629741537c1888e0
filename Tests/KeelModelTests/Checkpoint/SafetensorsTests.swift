import KeelCore
import KeelTensor
import KeelTestSupport
import Testing

@testable import KeelModel

@Suite struct SafetensorsTests {
    static let index = (try? Fixture.json("safetensors/index.json").object) ?? [:]

    static func names(_ expect: String) -> [String] {
        index.filter { $0.value["expect"]?.string == expect }.map(\.key).sorted()
    }

    private func open(_ name: String) throws -> SafetensorsFile {
        try SafetensorsFile(Fixture.path("safetensors/\(name)"))
    }

    @Test func theFixturesAreThere() {
        #expect(SafetensorsTests.names("ok").count >= 9)
        #expect(SafetensorsTests.names("reject").count >= 20)
    }

    @Test(arguments: names("ok"))
    func goodFilesAreReadAsTheyAre(name: String) throws {
        let expected = try #require(SafetensorsTests.index[name])
        let file = try open(name)
        let metadata = try #require(expected["metadata"]?.object)
        #expect(
            Dictionary(uniqueKeysWithValues: file.metadata.map { ($0.key, $0.value) })
                == Dictionary(uniqueKeysWithValues: metadata.map { ($0.key, $0.value) }))
        let tensors = try #require(expected["tensors"]?.object)
        #expect(Set(file.entries.map(\.name)) == Set(tensors.keys))
        for (name, want) in tensors {
            let entry = try #require(file[name])
            #expect(entry.type.rawValue == want["dtype"]?.string)
            #expect(entry.shape == want["shape"]?.ints)
            #expect(entry.range.count == want["bytes"]?.int)
            #expect(try SHA256.hex(file.bytes(entry)) == want["sha256"]?.string)
            guard let first = want["first"]?.doubles else { continue }
            let values = try file.tensor(entry, dtype: .f64, device: testDevice).doubles()
            // The index prints nine digits.
            expectClose(Array(values.prefix(first.count)), first, Tolerance(relative: 1e-7), name)
        }
    }

    @Test(arguments: names("reject"))
    func badFilesAreRefusedWithTheirName(name: String) throws {
        let error = try #require(throws: KeelError.self) { _ = try open(name) }
        #expect(error.code == .badData)
        #expect(error.at?.contains(name) == true, "\(error)")
    }

    @Test func aMissingFileIsNoInput() throws {
        let error = try #require(throws: KeelError.self) { _ = try open("absent.safetensors") }
        #expect(error.code == .noInput)
    }

    @Test func anErrorNamesFileTensorAndNumbers() throws {
        let error = try #require(throws: KeelError.self) {
            _ = try open("shape_mismatch.safetensors")
        }
        #expect(error.description.contains("tensor "))
        #expect(error.what.contains("bytes of data for shape"))
    }

    @Test func everyPrefixOfAFileIsRefused() throws {
        let whole = try Files.read(Fixture.path("safetensors/plain.safetensors"))
        try withFolder { folder in
            let path = Files.join(folder, "cut.safetensors")
            for count in 0..<whole.count {
                try AtomicWrite.file(path, Array(whole[..<count]))
                #expect(throws: KeelError.self) { _ = try SafetensorsFile(path) }
            }
        }
    }

    @Test func changedBytesNeverCrash() throws {
        let whole = try Files.read(Fixture.path("safetensors/all_dtypes.safetensors"))
        try withFolder { folder in
            let path = Files.join(folder, "changed.safetensors")
            let stream = RandomStream(seed: 1, place: "fuzz")
            for round in 0..<400 {
                var bytes = whole
                for k in 0..<3 {
                    let n = UInt64(round * 8 + 2 * k)
                    bytes[Int(stream.below(UInt64(min(bytes.count, 900)), n))] = UInt8(
                        stream.below(256, n + 1))
                }
                try AtomicWrite.file(path, bytes)
                guard let file = try? SafetensorsFile(path) else { continue }
                for entry in file.entries {
                    #expect(try file.bytes(entry).count == entry.range.count)
                }
            }
        }
    }

    @Test func whatIsWrittenIsReadBack() throws {
        try withFolder { folder in
            let path = Files.join(folder, "out.safetensors")
            let values: [Float] = [1, -2.5, 3.25, 1e-30, 65504, -0.0]
            let tensor = Tensor(values, shape: [2, 3], device: testDevice)
            try SafetensorsWriter.write(
                path,
                [
                    .init("z", tensor), .init("a", tensor, as: .bf16),
                    .init("n", Tensor([Int32(7)], device: testDevice)),
                ])
            let file = try SafetensorsFile(path)
            #expect(file.entries.map(\.name) == ["z", "a", "n"])
            #expect(file.metadata["format"] == "pt")
            let z = try #require(file["z"])
            #expect(
                try file.tensor(z, dtype: .f32, device: testDevice).floats().map(\.bitPattern)
                    == values.map(\.bitPattern))
            #expect(z.range.lowerBound % 8 == 0)
            let a = try #require(file["a"])
            #expect(a.type == .bf16)
            #expect(
                try file.tensor(a, dtype: .f32, device: testDevice).floats()
                    == tensor.cast(.bf16).floats())
            #expect(try Files.list(folder) == ["out.safetensors"])
        }
    }

    @Test(
        arguments: [
            (0x0000, 0), (0x3C00, 1), (0xC000, -2), (0x7BFF, 65504), (0x0001, 0x1p-24),
            (0x03FF, 1023 * 0x1p-24),
            (0x0400, 0x1p-14), (0x7C00, Float.infinity), (0x3555, 0.333251953125),
        ] as [(UInt16, Float)])
    func halfPrecisionIsWidenedExactly(bits: UInt16, value: Float) {
        #expect(SafetensorsFile.widened(bits) == value)
    }

    @Test func halfPrecisionKeepsNaNAndSignedZero() {
        #expect(SafetensorsFile.widened(0x7E00).isNaN)
        #expect(SafetensorsFile.widened(0x8000).bitPattern == Float(-0.0).bitPattern)
    }
}
