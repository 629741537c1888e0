import Foundation
import KeelCore
import KeelTensor
import KeelTestSupport
import Testing

@testable import KeelModel

@Suite struct WeightReadingTests {
    /// Longer than two pieces of every type, and no whole number of them.
    private static let count = 300_001

    private func tensor(_ place: String, _ shape: [Int]) -> Tensor {
        let stream = RandomStream(seed: 2, place: place)
        let values = (0..<shape.reduce(1, *)).map { Float(stream.normal(UInt64($0))) }
        return Tensor(values, shape: shape, device: testDevice)
    }

    /// Whatever type a file stores and a model computes in: cell for cell what one conversion of the whole gives.
    @Test(
        arguments: [DType.f32, .bf16, .f64],
        [(DType.f32, DType.f32), (.f32, .bf16), (.bf16, .bf16), (.f64, .f64)])
    func piecesAreTheWhole(stored: DType, into: (master: DType, compute: DType)) throws {
        let whole = tensor("whole", [WeightReadingTests.count]).cast(stored)
        try withFolder { folder in
            let path = Files.join(folder, "w.safetensors")
            try SafetensorsWriter.write(
                path, [.init("short", tensor("short", [3, 5])), .init("w", whole)])
            let file = try SafetensorsFile(path)
            let entry = try #require(file["w"])
            let master = Tensor(roomFor: whole.shape, dtype: into.master, device: testDevice)
            let compute = Tensor(roomFor: whole.shape, dtype: into.compute, device: testDevice)
            var reading = WeightReading()
            try reading.add(entry, of: file, to: master, rounded: compute)
            try reading.run(on: testDevice)
            let expected = stored == into.master ? whole : whole.cast(into.master)
            #expect(master.bytes() == expected.bytes())
            let rounded = into.compute == into.master ? expected : expected.cast(into.compute)
            #expect(compute.bytes() == rounded.bytes())
        }
    }

    @Test func halfPrecisionIsReadInPieces() throws {
        let count = WeightReadingTests.count
        let header =
            "{\"h\":{\"dtype\":\"F16\",\"shape\":[\(count)],\"data_offsets\":[0,\(2 * count)]}}"
        var bytes: [UInt8] = withUnsafeBytes(of: UInt64(header.utf8.count).littleEndian) {
            Array($0)
        }
        bytes += Array(header.utf8)
        for i in 0..<count { bytes += [UInt8(truncatingIfNeeded: i), UInt8(i >> 8 & 0x3F)] }
        try withFolder { folder in
            let path = Files.join(folder, "h.safetensors")
            try AtomicWrite.file(path, bytes)
            let file = try SafetensorsFile(path)
            let values = try file.tensor(
                #require(file["h"]), dtype: .f32, device: testDevice
            ).floats()
            for i in stride(from: 0, to: count, by: 97) {
                #expect(values[i] == SafetensorsFile.widened(UInt16(i & 0x3FFF)))
            }
        }
    }

    /// The fingerprint that loading gives is the folder's own, whatever the number of threads.
    @Test(arguments: [1, 3])
    func aLoadedModelKnowsItsContent(threads: Int) throws {
        let device = Device.cpu(threads: threads)
        for name in ["llama_bf16", "llama_sharded", "gpt2"] {
            let folder = Fixture.model(name)
            let expected = try ModelDirectory(folder).contentHash(on: testDevice)
            for dtype in [DType.f32, .bf16] {
                let model = try Model.load(
                    directory: folder, dtype: dtype, device: device, isFingerprinted: true)
                #expect(model.contentHash == expected && expected.count == 64)
                #expect(model.frozen().contentHash == expected)
            }
            let plain = try Model.load(directory: folder, dtype: .f32, device: device)
            #expect(plain.contentHash == nil)
        }
    }

    /// Any byte of any file makes other content: header, first and last cells, config, a tensor left out.
    @Test func everyByteIsPartOfTheContent() throws {
        let source = Fixture.model("gpt2")
        func hash(_ change: (String, inout [UInt8]) -> Void) throws -> String {
            try withFolder { folder in
                for name in try Files.list(source) {
                    var bytes = try Files.read(Files.join(source, name))
                    change(name, &bytes)
                    try AtomicWrite.file(Files.join(folder, name), bytes)
                }
                return try ModelDirectory(folder).contentHash(on: testDevice)
            }
        }
        let own = try hash { _, _ in }
        #expect(try own == ModelDirectory(source).contentHash(on: testDevice))
        var seen: Set<String> = [own]
        let size = try #require(Files.size(Files.join(source, "model.safetensors")))
        let header = try Files.read(Files.join(source, "model.safetensors")).prefix(2)
        let start = 8 + Int(header[0]) + Int(header[1]) << 8
        for at in [start, start + 1, (start + size) / 2, size - 1] {
            let changed = try hash { name, bytes in
                if name == "model.safetensors" { bytes[at] ^= 1 }
            }
            #expect(seen.insert(changed).inserted, "byte \(at)")
        }
        let spaced = try hash { name, bytes in if name == "config.json" { bytes.append(0x20) } }
        #expect(seen.insert(spaced).inserted)
    }

    @Test func aFileThatIsCutMeanwhileIsAnError() throws {
        try withFolder { folder in
            let path = Files.join(folder, "w.safetensors")
            try SafetensorsWriter.write(path, [.init("w", tensor("w", [WeightReadingTests.count]))])
            let file = try SafetensorsFile(path)
            let entry = try #require(file["w"])
            #expect(truncate(path, 800_000) == 0)
            let error = try #require(throws: KeelError.self) {
                _ = try file.tensor(entry, dtype: .f32, device: testDevice)
            }
            #expect(
                error.what.contains("the file changed while it was read: it ends at byte 800000"))
            #expect(error.at == path && error.code == .io)
            #expect(throws: KeelError.self) { _ = try file.bytes(entry) }
        }
    }

    @Test func aFileThatIsWrittenToMeanwhileIsAnError() throws {
        try withFolder { folder in
            let path = Files.join(folder, "w.safetensors")
            try SafetensorsWriter.write(path, [.init("w", tensor("w", [4]))])
            let file = try SafetensorsFile(path)
            let entry = try #require(file["w"])
            _ = try file.tensor(entry, dtype: .f32, device: testDevice)
            let handle = try #require(FileHandle(forWritingAtPath: path))
            var times = [timespec(tv_sec: 1, tv_nsec: 0), timespec(tv_sec: 1, tv_nsec: 0)]
            #expect(futimens(handle.fileDescriptor, &times) == 0)
            let error = try #require(throws: KeelError.self) {
                _ = try file.tensor(entry, dtype: .f32, device: testDevice)
            }
            #expect(error.what == "the file changed while it was read: it was written to")
            try handle.write(contentsOf: [UInt8](repeating: 0, count: 1000))
            let longer = try #require(throws: KeelError.self) {
                _ = try file.tensor(entry, dtype: .f32, device: testDevice)
            }
            #expect(longer.what.contains("1000 bytes, not"))
        }
    }
}
