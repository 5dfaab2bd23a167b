package iam

import (
	"bytes"
	"context"
	"encoding/base32"
	"fmt"
	"image/png"
	"io"
	"net/url"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	awsiam "github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/iam/types"
	"github.com/pquerna/otp"

	"hive/fsm"
	"hive/iam/principal"
)

const (
	seedBytes       = 40 // 320 bits: 64 characters of base32, as in AWS
	qrPixels        = 250
	maxDeviceName   = 226
	maxSerialLength = 256
	minSerialLength = 9
)

// CreateVirtualMFADevice makes a device that is enabled for nobody yet. Its seed is in this answer only. Errors:
// EntityAlreadyExists, LimitExceeded, InvalidInput, ValidationError.
func (s *Service) CreateVirtualMFADevice(ctx context.Context, c *principal.Caller, in *awsiam.CreateVirtualMFADeviceInput) (*awsiam.CreateVirtualMFADeviceOutput, error) {
	name, err := requiredName(in.VirtualMFADeviceName, "virtualMFADeviceName", maxDeviceName)
	if err != nil {
		return nil, err
	}
	path, err := validPath(in.Path, "path")
	if err != nil {
		return nil, err
	}
	tags, err := inCase.valid(in.Tags)
	if err != nil {
		return nil, err
	}
	d := fsm.MFADevice{Account: fsm.AccountID(c.Account), Name: name, Path: path, Created: s.cfg.Clock().Unix(), Tags: tags}
	seed, err := s.newSeed()
	if err != nil {
		return nil, err
	}
	if d.Seed, err = s.cfg.Sealer.Seal([]byte(seed), d.SealContext()); err != nil {
		return nil, err
	}
	code, err := s.qrCode(ctx, c, name, seed)
	if err != nil {
		return nil, err
	}
	if err := s.propose(ctx, c, &fsm.CreateMFADevice{Device: d}, ""); err != nil {
		return nil, err
	}
	out := &types.VirtualMFADevice{SerialNumber: aws.String(d.Serial()), Base32StringSeed: []byte(seed), QRCodePNG: code}
	if len(tags) > 0 {
		out.Tags = tagsOut(tags)
	}
	return &awsiam.CreateVirtualMFADeviceOutput{VirtualMFADevice: out}, nil
}

func (s *Service) newSeed() (string, error) {
	raw := make([]byte, seedBytes)
	s.mu.Lock()
	_, err := io.ReadFull(s.cfg.Rand, raw)
	s.mu.Unlock()
	if err != nil {
		return "", fmt.Errorf("draw an MFA seed: %w", err)
	}
	return base32.StdEncoding.EncodeToString(raw), nil
}

// qrCode is a PNG that an authenticator's camera reads: otpauth://totp/DEVICE@ACCOUNT?secret=SEED, the account by its alias
// or id.
func (s *Service) qrCode(ctx context.Context, c *principal.Caller, name, seed string) ([]byte, error) {
	account := c.Account
	err := s.read(ctx, func(v *fsm.View) error {
		if alias := fsm.SettingsOf(v, fsm.AccountID(c.Account)).Alias; alias != "" {
			account = alias
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	key, err := otp.NewKeyFromURL("otpauth://totp/" + url.PathEscape(name+"@"+account) + "?secret=" + seed)
	if err != nil {
		return nil, fmt.Errorf("write an MFA device's URL: %w", err)
	}
	image, err := key.Image(qrPixels, qrPixels)
	if err != nil {
		return nil, fmt.Errorf("draw a QR code: %w", err)
	}
	var out bytes.Buffer
	if err := png.Encode(&out, image); err != nil {
		return nil, fmt.Errorf("draw a QR code: %w", err)
	}
	return out.Bytes(), nil
}

// validSerial is the value of a parameter that must be a device's serial number.
func validSerial(value *string) (string, error) {
	serial, err := required(value, "serialNumber", maxSerialLength)
	if err != nil {
		return "", err
	}
	if len(serial) < minSerialLength {
		return "", constraint(quoted(serial), "serialNumber", fmt.Sprintf("Member must have length greater than or equal to %d", minSerialLength))
	}
	if strings.ContainsFunc(serial, func(r rune) bool { return !nameRune(r) && r != '/' && r != ':' }) {
		return "", constraint(quoted(serial), "serialNumber", `Member must satisfy regular expression pattern: [\w+=/:,.@-]+`)
	}
	return serial, nil
}

func deviceIn(v *fsm.View, c *principal.Caller, serial string) (fsm.MFADevice, error) {
	d, ok := fsm.MFADeviceBySerial(v, fsm.AccountID(c.Account), serial)
	if !ok {
		return d, fsm.Errorf(fsm.ErrNotFound, "mfa/"+serial)
	}
	return d, nil
}

// DeleteVirtualMFADevice removes a device that is enabled for nobody. Errors: NoSuchEntity, DeleteConflict.
func (s *Service) DeleteVirtualMFADevice(ctx context.Context, c *principal.Caller, in *awsiam.DeleteVirtualMFADeviceInput) (*awsiam.DeleteVirtualMFADeviceOutput, error) {
	serial, err := validSerial(in.SerialNumber)
	if err != nil {
		return nil, err
	}
	if err := s.propose(ctx, c, &fsm.DeleteMFADevice{Account: fsm.AccountID(c.Account), Serial: serial}, ""); err != nil {
		return nil, err
	}
	return &awsiam.DeleteVirtualMFADeviceOutput{}, nil
}

// changeDevice lets change alter a device and records it.
func (s *Service) changeDevice(ctx context.Context, c *principal.Caller, value *string, change func(*fsm.View, *fsm.MFADevice) error) error {
	serial, err := validSerial(value)
	if err != nil {
		return err
	}
	return s.decide(ctx, c, serial, func(v *fsm.View) (fsm.Command, error) {
		d, err := deviceIn(v, c, serial)
		if err != nil {
			return nil, err
		}
		if err := change(v, &d); err != nil {
			return nil, err
		}
		return &fsm.UpdateMFADevice{Device: d}, nil
	})
}

// setClock learns from two codes in a row how far the device's clock is off, and that they were used.
func (s *Service) setClock(d *fsm.MFADevice, first, second string) error {
	now := s.step()
	if !s.tries.take(d.Serial(), now) {
		return badCode()
	}
	seed, err := s.seed(*d)
	if err != nil {
		return err
	}
	step, ok, err := findTwo(seed, now, d.Step, first, second)
	if err != nil {
		return err
	}
	if !ok {
		return badCode()
	}
	s.tries.right(d.Serial())
	d.Step, d.Skew = step, 0
	if off := step - now; off < -stepsAround || off > stepsAround {
		d.Skew = off
	}
	return nil
}

func twoCodes(one, two *string) (first, second string, err error) {
	if first, err = validCode(one, "authenticationCode1"); err != nil {
		return "", "", err
	}
	second, err = validCode(two, "authenticationCode2")
	return first, second, err
}

// EnableMFADevice enables a device for a user that proves with two codes in a row that it holds it. Errors: NoSuchEntity,
// EntityAlreadyExists, InvalidAuthenticationCode, LimitExceeded.
func (s *Service) EnableMFADevice(ctx context.Context, c *principal.Caller, in *awsiam.EnableMFADeviceInput) (*awsiam.EnableMFADeviceOutput, error) {
	name, err := requiredName(in.UserName, "userName", maxUserName)
	if err != nil {
		return nil, err
	}
	first, second, err := twoCodes(in.AuthenticationCode1, in.AuthenticationCode2)
	if err != nil {
		return nil, err
	}
	err = s.changeDevice(ctx, c, in.SerialNumber, func(v *fsm.View, d *fsm.MFADevice) error {
		user, err := userIn(v, c, name)
		if err != nil {
			return err
		}
		if d.User != "" {
			return fsm.Errorf(fsm.ErrExists, "enabled-mfa/"+d.Serial())
		}
		d.User, d.Enabled = user.ID, s.cfg.Clock().Unix()
		return s.setClock(d, first, second)
	})
	if err != nil {
		return nil, err
	}
	return &awsiam.EnableMFADeviceOutput{}, nil
}

// ofUser refuses a device that is not enabled for the user of that name.
func ofUser(v *fsm.View, c *principal.Caller, d fsm.MFADevice, name string) error {
	user, err := userIn(v, c, name)
	if err != nil {
		return err
	}
	if d.User != user.ID {
		return fsm.Errorf(fsm.ErrNotFound, "user-mfa/"+name)
	}
	return nil
}

// ResyncMFADevice learns from two codes in a row how far a device's clock is off. Errors: NoSuchEntity,
// InvalidAuthenticationCode.
func (s *Service) ResyncMFADevice(ctx context.Context, c *principal.Caller, in *awsiam.ResyncMFADeviceInput) (*awsiam.ResyncMFADeviceOutput, error) {
	name, err := requiredName(in.UserName, "userName", maxUserName)
	if err != nil {
		return nil, err
	}
	first, second, err := twoCodes(in.AuthenticationCode1, in.AuthenticationCode2)
	if err != nil {
		return nil, err
	}
	err = s.changeDevice(ctx, c, in.SerialNumber, func(v *fsm.View, d *fsm.MFADevice) error {
		if err := ofUser(v, c, *d, name); err != nil {
			return err
		}
		return s.setClock(d, first, second)
	})
	if err != nil {
		return nil, err
	}
	return &awsiam.ResyncMFADeviceOutput{}, nil
}

// DeactivateMFADevice takes a device from its user: UserName's or, without one, the caller. Errors: NoSuchEntity.
func (s *Service) DeactivateMFADevice(ctx context.Context, c *principal.Caller, in *awsiam.DeactivateMFADeviceInput) (*awsiam.DeactivateMFADeviceOutput, error) {
	name := in.UserName
	if name == nil {
		if err := mustBeUser(c); err != nil {
			return nil, err
		}
		name = &c.UserName
	}
	valid, err := requiredName(name, "userName", maxUserName)
	if err != nil {
		return nil, err
	}
	err = s.changeDevice(ctx, c, in.SerialNumber, func(v *fsm.View, d *fsm.MFADevice) error {
		if err := ofUser(v, c, *d, valid); err != nil {
			return err
		}
		d.User, d.Enabled = "", 0
		return nil
	})
	if err != nil {
		return nil, err
	}
	return &awsiam.DeactivateMFADeviceOutput{}, nil
}

// GetMFADevice is a device; with a UserName it must be enabled for that user. Errors: NoSuchEntity.
func (s *Service) GetMFADevice(ctx context.Context, c *principal.Caller, in *awsiam.GetMFADeviceInput) (*awsiam.GetMFADeviceOutput, error) {
	serial, err := validSerial(in.SerialNumber)
	if err != nil {
		return nil, err
	}
	out := &awsiam.GetMFADeviceOutput{SerialNumber: &serial}
	err = s.read(ctx, func(v *fsm.View) error {
		d, err := deviceIn(v, c, serial)
		if err != nil {
			return err
		}
		if in.UserName != nil {
			if err := ofUser(v, c, d, *in.UserName); err != nil {
				return err
			}
		}
		if user, ok := fsm.UserByID(v, d.Account, d.User); ok {
			out.UserName, out.EnableDate = aws.String(user.Name), date(d.Enabled)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}

// ListMFADevices lists the devices of a user or of the caller. The root user has none.
func (s *Service) ListMFADevices(ctx context.Context, c *principal.Caller, in *awsiam.ListMFADevicesInput) (*awsiam.ListMFADevicesOutput, error) {
	p, err := newPage(in.Marker, in.MaxItems)
	if err != nil {
		return nil, err
	}
	owner, err := s.keyOwner(ctx, c, in.UserName)
	if err != nil {
		return nil, err
	}
	var devices []fsm.MFADevice
	err = s.read(ctx, func(v *fsm.View) error {
		if owner.id != "" {
			devices = fsm.MFADevicesOf(v, owner.account, owner.id)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	slices.SortFunc(devices, func(a, b fsm.MFADevice) int { return strings.Compare(a.Serial(), b.Serial()) })
	devices, next := cut(p, devices, fsm.MFADevice.Serial)
	out := &awsiam.ListMFADevicesOutput{MFADevices: []types.MFADevice{}, IsTruncated: next != nil, Marker: next}
	for _, d := range devices {
		out.MFADevices = append(out.MFADevices, types.MFADevice{
			UserName: owner.userName(), SerialNumber: aws.String(d.Serial()), EnableDate: date(d.Enabled),
		})
	}
	return out, nil
}
